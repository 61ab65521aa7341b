"""Evaluating a model's file, of either kind, on a data set by name."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from apps.evaluation_config import EvaluationConfig
from export.interpreter import Runner
from keras_nas import costs, data
from keras_nas.data.registry import options
from keras_nas.errors import UsageError
from keras_nas.loading import load_model
from keras_nas.runs.preflight import check_fits, image_size_for, side_of
from keras_nas.tasks import Classification
from keras_nas.tasks.pixel_guess import is_better_than_chance
from keras_nas.training.evaluation import Evaluator

TASK = "classification"

logger = logging.getLogger(__name__)


def evaluate_file(config: EvaluationConfig) -> dict[str, Any]:
    """Evaluates a model's file, on pictures made as large as it takes them.

    Returns:
        `loss` (.keras only), `top1`, `top5` as shares, `size` in bytes; for a .keras file `params`,
        `macs` and `flops` too.

    Raises:
        UsageError: If `model` names no .keras, .h5 or .tflite file, or does not fit the data.
        KerasNasError: If the file is missing or cannot be read.
    """
    config.check_paths()
    path = Path(config.model)
    found, loaded = (_of_tflite if path.suffix == ".tflite" else _of_keras)(path, config)
    counts = _class_counts(_part(loaded, config))
    chance = max(counts) / sum(counts)
    if not is_better_than_chance(found["top1"], chance, sum(counts)):
        logger.warning(
            "top-1 %.3f is no better than always saying one class (%.3f). The model may want other "
            "pixels (--pixels, now %s), or the classes in another order.",
            found["top1"], chance, config.pictures.pixels,
        )  # fmt: skip
    return {**found, "size": path.stat().st_size}


def _of_tflite(path: Path, config: EvaluationConfig) -> tuple[dict[str, Any], data.TaskData]:
    runner = Runner(path, threads=2)
    shape = () if runner.dynamic else runner.input_shapes[0]
    loaded = _load(config, image_size_for(shape, TASK))
    check_tflite_fits(runner, path, loaded)
    return dict(_evaluate(runner, _part(loaded, config))), loaded


def _of_keras(path: Path, config: EvaluationConfig) -> tuple[dict[str, Any], data.TaskData]:
    model = load_model(path)
    loaded = _load(config, side_of(model, TASK))
    check_fits(model, loaded, config.data)
    counted = costs.count(model)
    evaluated = Evaluator(model, Classification.of(model), _part(loaded, config))()
    costs_of = {"params": counted.params, "macs": counted.macs, "flops": counted.flops}
    return {**evaluated, **costs_of}, loaded


def evaluate_tflite(
    path: Path, examples: tf.data.Dataset, threads: int = 2, task: Classification | None = None
) -> dict[str, float]:
    """Top-1 and top-5 of a .tflite classifier, image by image.

    Args:
        path: The file.
        examples: Batches `(images, labels)`.
        threads: Threads of the interpreter.
        task: Its metrics; by default those of one class out of many, or of a single sigmoid.
    """
    return _evaluate(Runner(path, threads), examples, task)


def check_tflite_fits(runner: Runner, path: Path, loaded: data.TaskData) -> None:
    """Compares the shapes of a .tflite classifier with the data's.

    Raises:
        UsageError: The file takes or gives something else than the data has.
    """
    where = f"{path} does not fit --data={loaded.name}: it"
    shapes, wanted = runner.input_shapes, (1, *loaded.image_shape)
    if not runner.dynamic and shapes != [wanted]:
        raise UsageError(f"{where} takes inputs of shapes {shapes}, and the data has {wanted}.")
    outputs = runner.output_shapes
    widths = (loaded.num_classes, 1) if loaded.num_classes == 2 else (loaded.num_classes,)
    if len(outputs) != 1 or outputs[0][-1] not in widths:
        raise UsageError(
            f"{where} gives outputs of shapes {outputs}, and the data has "
            f"{loaded.num_classes} classes."
        )


def _evaluate(
    runner: Runner, examples: tf.data.Dataset, task: Classification | None = None
) -> dict[str, float]:
    outputs, labels = [], []
    for images, targets in examples.as_numpy_iterator():
        outputs += [runner([image[None]])[0][0] for image in images]
        labels.append(np.reshape(targets, -1))
    classes = len(outputs[0])
    metrics = (task or Classification(classes, sigmoid=classes == 1)).metrics()
    for metric in metrics:
        metric.update_state(np.concatenate(labels), np.stack(outputs))
    return {metric.name: float(metric.result()) for metric in metrics}


def _load(config: EvaluationConfig, side: int) -> data.TaskData:
    name, place = config.data_source()
    return data.load(
        name,
        data_dir=place or None,
        batch_size=config.batch_size,
        seed=config.seed,
        image_size=config.image_size or side or None,
        validation_share=config.validation_share,
        **config.pictures.options(name, options(name)),
    )


def _class_counts(examples: tf.data.Dataset) -> list[int]:
    labels = np.concatenate([np.reshape(batch[1], -1) for batch in examples.as_numpy_iterator()])
    return np.bincount(labels.astype(np.int64)).tolist()


def _part(loaded: data.TaskData, config: EvaluationConfig) -> tf.data.Dataset:
    return getattr(loaded, config.split)
