"""Exporting a model's file in several formats, with the data of its task."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from export import tflite
from export.export_model import ExportData, ExportOptions, export_model
from export.metadata import TASKS, ModelCard, describe
from export.parity import Parity
from export.task_metrics import METRICS
from export.tflite import ExportedModel
from keras_nas import costs
from keras_nas.architecture import Architecture
from keras_nas.data import NAMES, load
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.search.settings import check_choices, setting


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """Which model to export, in which formats, with which data."""

    model: str = setting("", "The .keras file.")
    formats: tuple[str, ...] = setting(("float32",), f"Formats, of {', '.join(tflite.FORMATS)}.")
    output_dir: str = setting("", "Folder for the .tflite files; by default the model's.")
    name: str = setting("", "Start of the files' names; by default the model's file name.")
    data: str = setting(
        "",
        "Data for ranges, training and comparison: a data set's name or an .npz file with the "
        "arrays x, y (held out) and train_x, train_y. Without it the comparison is on random "
        "inputs, and int8, int16x8 and qat are not possible.",
    )
    data_dir: str = setting("", "Where the data set is; by default its own place.")
    metric: str = setting("top1", "Task metric of an .npz file's data.", ("none", *METRICS))
    seed: int = setting(0, "Seed of the data's choice and order.")
    representative_samples: int = setting(200, "Samples that set the ranges of int8 and int16x8.")
    parity_samples: int = setting(1000, "Held-out samples to compare on.")
    io_dtype: str = setting(
        "float32",
        "Type of the inputs and outputs of int8, int16x8 and qat files.",
        ("float32", "int8", "uint8", "int16"),
    )
    input_size: tuple[int, ...] = setting((), "Height and width of a model without fixed ones.")
    dynamic_sizes: tuple[str, ...] = setting(
        (), "Sizes such as 240x320 that a file of dynamic size must run at."
    )
    float_fallback: bool = setting(False, "Keep operations without integer kernel in float32.")
    qat_epochs: int = setting(1, "Epochs of quantisation-aware training.")
    qat_steps: int = setting(0, "Steps in an epoch of it; 0 for all.")
    qat_learning_rate: float = setting(1e-4, "Its learning rate (Adam).")
    metadata: bool = setting(False, "Write metadata (Python 3.11 or older).")
    task: str = setting("classification", "Task that the metadata name.", TASKS)
    description: str = setting("", "What the model does, for the metadata.")
    labels: str = setting("", "Text file of class names, a line each; by default the data set's.")
    mean: tuple[float, ...] = setting((), "A pixel v enters as (v - mean) / std; v is 0 to 255.")
    std: tuple[float, ...] = setting((), "See --mean; by default the data set's, else 0 and 255.")
    author: str = setting("", "Author, for the metadata.")
    license: str = setting("", "Licence, for the metadata.")
    architecture: str = setting(
        "", "architecture.json of the search, whose method and costs the metadata name."
    )

    def __post_init__(self):
        check_choices(self)
        unknown = sorted(set(self.formats) - set(tflite.FORMATS))
        if unknown or not self.formats:
            raise UsageError(
                f"`formats` must be some of {tflite.FORMATS}. Received: formats={self.formats}"
            )
        if len(self.input_size) not in (0, 2):
            raise UsageError(
                f"`input_size` must be a height and a width. Received: {self.input_size}"
            )


@dataclasses.dataclass(frozen=True)
class _Source:
    """The data, and what the metadata may say about them."""

    data: ExportData
    labels: tuple[str, ...] = ()
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (255.0,)


def export_file(config: ExportConfig) -> list[tuple[ExportedModel, Parity]]:
    """Exports a model's file in every format that is asked for.

    Returns:
        What was written and how it compares, in the order of the formats.

    Raises:
        UsageError: A setting is missing or does not fit the others.
        KerasNasError: The model or the data cannot be read, or an export is refused.
    """
    path = Path(config.model)
    if path.suffix != ".keras":
        raise UsageError(
            f"`model` must name a .keras file (--model). Received: model={config.model!r}"
        )
    if not path.is_file():
        raise KerasNasError(f"`model` must be a file. Received: {path}, which does not exist")
    model = keras.models.load_model(path, compile=False)
    source = _source(config)
    card = _card(config, model, source) if config.metadata else None
    folder = Path(config.output_dir) if config.output_dir else path.parent
    stem = config.name or path.stem
    return [
        export_model(
            model,
            folder / f"{stem}_{name}.tflite",
            name,
            source.data,
            card,
            _options(config, model, name),
        )
        for name in config.formats
    ]


def _source(config: ExportConfig) -> _Source:
    if not config.data:
        return _Source(ExportData())
    if config.data.endswith(".npz"):
        metric = None if config.metric == "none" else config.metric
        return _Source(_npz(Path(config.data), metric, config.seed))
    if config.data not in NAMES:
        raise UsageError(
            f"`data` must be one of {NAMES} or an .npz file. Received: data={config.data!r}"
        )
    loaded = load(
        config.data,
        data_dir=config.data_dir or None,
        seed=config.seed,
        augment=False,
        validation_share=0.0,
    )
    mean, std = loaded.normalization.mean, loaded.normalization.std
    return _Source(
        ExportData(loaded.train, loaded.test, "top1"),
        tuple(loaded.class_names),
        tuple(255 * value for value in mean),
        tuple(255 * value for value in std),
    )


def _npz(path: Path, metric: str | None, seed: int) -> ExportData:
    try:
        with np.load(path) as arrays:
            held = {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError) as error:
        raise KerasNasError(f"Cannot read the data {path}: {error}") from error
    if "x" not in held or (metric and "y" not in held):
        raise KerasNasError(f"{path} must hold the arrays x and y. Received: {sorted(held)}")
    train = None
    if "train_x" in held:
        arrays = tuple(held[name] for name in ("train_x", "train_y") if name in held)
        train = tf.data.Dataset.from_tensor_slices(arrays)
        train = train.shuffle(len(held["train_x"]), seed=seed).batch(64)
    return ExportData(train, (held["x"], held["y"]) if metric else held["x"], metric)


def _options(config: ExportConfig, model: keras.Model, name: str) -> ExportOptions:
    fits = config.io_dtype in tflite.IO_DTYPES[name]
    return ExportOptions(
        representative_samples=config.representative_samples,
        io_dtype=config.io_dtype if fits else "float32",
        input_shape=(1, *config.input_size, model.inputs[0].shape[-1])
        if config.input_size
        else None,
        sizes=tuple(map(_size, config.dynamic_sizes)) or None,
        float_fallback=config.float_fallback,
        parity_samples=config.parity_samples,
        qat_epochs=config.qat_epochs,
        qat_steps=config.qat_steps or None,
        qat_learning_rate=config.qat_learning_rate,
    )


def _size(text: str) -> tuple[int, int]:
    parts = text.split("x")
    if len(parts) != 2 or not all(part.isdigit() for part in parts):
        raise UsageError(f"A size must read like 240x320. Received: {text!r}")
    return int(parts[0]), int(parts[1])


def _card(config: ExportConfig, model: keras.Model, source: _Source) -> ModelCard:
    labels = source.labels
    if config.labels:
        try:
            labels = tuple(Path(config.labels).read_text(encoding="utf-8").splitlines())
        except OSError as error:
            raise KerasNasError(f"Cannot read {config.labels}: {error.strerror}.") from error
    method, before = None, None
    counted = costs.count(model)
    after = {"macs": counted.macs, "params": counted.params}
    if config.architecture:
        architecture = Architecture.load(config.architecture)
        method, before = architecture.method, architecture.costs.get("before")
    return ModelCard(
        name=config.name or model.name,
        task=config.task,
        description=describe(config.description, method, before, after),
        labels=() if config.task == "image_to_image" else labels,
        mean=config.mean or source.mean,
        std=config.std or source.std,
        author=config.author,
        license=config.license,
    )
