"""Exporting a model's file in several formats, with the data of its task, and the table of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from rich.table import Table

from apps.export_config import ExportConfig
from export.accelerators.survey import survey
from export.export_model import ExportData, export_model
from export.export_options import IO_DTYPES, NEED_DATA, ExportOptions
from export.metadata import ModelCard, describe
from export.parity import Parity
from export.tflite import ExportedModel
from keras_nas import costs
from keras_nas.architecture import Architecture
from keras_nas.data import load
from keras_nas.data.registry import options, task_of
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.loading import load_model
from keras_nas.runs.preflight import check_fits, side_of


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
    config.check_paths()
    model = load_model(config.model)
    _check_sizes(config, model)
    source = _source(config, model)
    needing = [name for name in config.formats if name in NEED_DATA]
    if needing and source.data.train is None:
        raise UsageError(
            f"`representative_data` must be given for the format {needing[0]!r}: name a data set, "
            "or an .npz file with the array train_x, by --data."
        )
    card = _card(config, model, source) if config.metadata else None
    stem = config.name or Path(config.model).stem
    return [
        export_model(
            model,
            config.folder / f"{stem}_{name}.tflite",
            name,
            source.data,
            card,
            _options(config, model, name),
        )
        for name in config.formats
    ]


def export_table(exports: Sequence[tuple[ExportedModel, Parity]]) -> Table:
    """One row for each file: its size, its differences and the task metric.

    Differences are percentages of the Keras output's range (of the fake-quantised model's for
    "qat").
    """
    table = Table(header_style="bold")
    table.add_column("file", min_width=20, overflow="fold")
    metric = next((parity.metric_name for _, parity in exports if parity.metric_name), "metric")
    for name in ("size\nMB", "worst\n%", "mean\n%", "same\nargmax %", f"{metric}\nKeras → file"):
        table.add_column(name, justify="right", no_wrap=True)
    for exported, parity in exports:
        agreement = parity.argmax_agreement
        table.add_row(
            exported.path.name,
            f"{exported.size_bytes / 1e6:.3f}",
            f"{100 * parity.worst_relative:.2g}",
            f"{100 * parity.mean_relative:.2g}",
            "" if agreement is None else f"{100 * agreement:.2f}",
            ""
            if parity.metric_keras is None
            else f"{parity.metric_keras:.2f} → {parity.metric_tflite:.2f}",
        )
    return table


def notes_lines(exports: Sequence[tuple[ExportedModel, Parity]]) -> list[str]:
    """What each file was compared on and what was rewritten for it, a line each."""
    return [
        f"{exported.path.name}: {note}" for exported, parity in exports for note in parity.notes
    ]


def coverage_lines(exports: Sequence[tuple[ExportedModel, Parity]]) -> list[str]:
    """What accelerators take of each file, a line each."""
    return [
        f"{exported.path.name}: {one}"
        for exported, _ in exports
        for one in survey(exported.path, next(iter(exported.sizes), None))
    ]


def _source(config: ExportConfig, model: keras.Model) -> _Source:
    if not config.data:
        return _Source(ExportData())
    if config.data.endswith(".npz"):
        config.pictures.options(config.data, frozenset())
        metric = None if config.metric == "none" else config.metric
        return _Source(_npz(Path(config.data), metric, config.seed))
    known = options(config.data)
    side = side_of(model, task_of(config.data)) if "image_size" in known else 0
    loaded = load(
        config.data,
        data_dir=config.data_dir or None,
        seed=config.seed,
        augment=False,
        validation_share=0.0,
        **({"image_size": side} if side else {}),
        **config.pictures.options(config.data, known),
    )
    if config.metadata and loaded.normalization.bgr:
        raise UsageError(
            "`metadata` cannot say that a model takes blue, green, red: export without them, or "
            "put the preprocessing into the model. Received: "
            f"pixels={config.pictures.pixels!r}"
        )
    check_fits(model, loaded, config.data)
    return _Source(
        ExportData(loaded.train, loaded.test, "top1"),
        tuple(loaded.class_names),
        *loaded.normalization.pixels,
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


def _check_sizes(config: ExportConfig, model: keras.Model) -> None:
    """Refuses sizes that are open, before data are read; an image's have flags."""
    if config.input_size or config.dynamic_sizes:
        if len(model.inputs) != 1 or len(model.inputs[0].shape) != 4:
            raise UsageError(
                "`input_size` and `dynamic_sizes` are for models with one image as input. "
                f"Received: inputs of shapes {[tensor.shape for tensor in model.inputs]}"
            )
        return
    for tensor in model.inputs:
        if None in tensor.shape[1:]:
            flags = len(model.inputs) == 1 and len(tensor.shape) == 4
            help_ = (
                "give --input_size=224,224, or --dynamic_sizes=240x320,480x640"
                if flags
                else "build it with a fixed one, or give export_model its `input_shape`"
            )
            raise KerasNasError(
                f"The input `{tensor.name}` of shape {tensor.shape} has an open size: {help_}."
            )


def _options(config: ExportConfig, model: keras.Model, name: str) -> ExportOptions:
    fits = config.options.io_dtype in IO_DTYPES[name]
    return dataclasses.replace(
        config.options,
        io_dtype=config.options.io_dtype if fits else "float32",
        input_shape=(1, *config.input_size, model.inputs[0].shape[-1])
        if config.input_size
        else None,
        sizes=config.sizes() or None,
    )


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
