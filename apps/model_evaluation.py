"""Evaluating a model's file, of either kind, on a data set by name."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from export.interpreter import Runner
from keras_nas import costs, data
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.search.evaluation import Evaluator
from keras_nas.search.settings import check_choices, setting
from keras_nas.tasks import Classification


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """Which file to evaluate, and on what."""

    model: str = setting("", "The .keras or .tflite file.")
    data: str = setting("cifar10", "Data set.", data.NAMES)
    data_dir: str = setting("", "Where the data is; by default the data set's own place.")
    split: str = setting("test", "Part of the data.", ("test", "validation"))
    validation_share: float = setting(0.1, "Share of the training set that is held back.")
    seed: int = setting(0, "Seed of the held-back share.")
    batch_size: int = setting(128, "Batch size (of a .keras file).")
    image_size: int = setting(0, "Side of the images in pixels; 0 for the data set's own.")

    def __post_init__(self):
        check_choices(self)


def evaluate_file(config: EvaluationConfig) -> dict[str, Any]:
    """Evaluates a model's file.

    Returns:
        `loss` (.keras only), `top1`, `top5` as shares, `size` in bytes; for a .keras file `params`,
        `macs` and `flops` too.

    Raises:
        UsageError: If `model` names no .keras or .tflite file.
        KerasNasError: If the file is missing or cannot be read.
    """
    path = Path(config.model)
    if path.suffix not in (".keras", ".tflite"):
        raise UsageError(
            "`model` must name a .keras or a .tflite file (--model). "
            f"Received: model={config.model!r}"
        )
    if not path.is_file():
        raise KerasNasError(f"`model` must be a file. Received: {path}, which does not exist")
    examples = _examples(config)
    size = {"size": path.stat().st_size}
    if path.suffix == ".tflite":
        return {**evaluate_tflite(path, examples), **size}
    model = keras.models.load_model(path, compile=False)
    counted = costs.count(model)
    evaluated = Evaluator(model, Classification.of(model), examples)()
    return {
        **evaluated, **size,
        "params": counted.params, "macs": counted.macs, "flops": counted.flops,
    }  # fmt: skip


def evaluate_tflite(path: Path, examples: tf.data.Dataset, threads: int = 2) -> dict[str, float]:
    """Top-1 and top-5 of a .tflite classifier, image by image.

    Args:
        path: The file.
        examples: Batches `(images, labels)`.
        threads: Threads of the interpreter.
    """
    runner = Runner(path, threads)
    outputs, labels = [], []
    for images, targets in examples.as_numpy_iterator():
        outputs += [runner([image[None]])[0][0] for image in images]
        labels.append(np.reshape(targets, -1))
    metrics = Classification(len(outputs[0])).metrics()
    for metric in metrics:
        metric.update_state(np.concatenate(labels), np.stack(outputs))
    return {metric.name: float(metric.result()) for metric in metrics}


def _examples(config: EvaluationConfig) -> tf.data.Dataset:
    loaded = data.load(
        config.data,
        data_dir=config.data_dir or None,
        batch_size=config.batch_size,
        seed=config.seed,
        image_size=config.image_size or None,
        validation_share=config.validation_share,
    )
    examples = getattr(loaded, config.split)
    if examples is None:
        raise UsageError("split='validation' needs `validation_share` above 0. Received: 0")
    return examples
