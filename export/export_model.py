"""One model to one checked .tflite: convert, describe, compare; all of it or nothing."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from export import metadata, parity, quantization, tflite
from export.accelerators.rewriting import rewrite_for_gpu, rewrite_for_xnnpack
from export.accelerators.xnnpack import XNNPACK_IN_FLOAT
from export.errors import ExportError
from export.export_options import NEED_DATA, ExportOptions
from export.parity import Parity
from export.random_samples import random_batches
from export.task_metrics import METRICS
from export.tflite import ExportedModel
from keras_nas.files import atomic_path
from keras_nas.graph import state as graph_state


@dataclasses.dataclass(frozen=True)
class ExportData:
    """The task's own data; each part in any form of `export.samples.batches`.

    Attributes:
        train: Batches (inputs, targets) for ranges and quantisation-aware training.
        held_out: Batches (inputs, targets) for the comparison.
        metric: The task metric's name in `export.task_metrics.METRICS`; None for none.
    """

    train: Any = None
    held_out: Any = None
    metric: str | None = None


def export_model(
    model: keras.Model,
    path: str | os.PathLike[str],
    format: str = "float32",  # noqa: A002
    data: ExportData | None = None,
    card: metadata.ModelCard | None = None,
    options: ExportOptions | None = None,
) -> tuple[ExportedModel, Parity]:
    """Writes a .tflite that was compared with its model, and `<name>.parity.json` beside it.

    Without held-out data the two are compared on the data that set the ranges, else on random
    inputs; the report says so.

    Args:
        model: The trained model.
        path: The file to write.
        format: One of `export.tflite.FORMATS`.
        data: The task's data; needed for the formats that are quantised by samples or training.
        card: What the metadata say; None for a file without metadata.
        options: See `ExportOptions`.

    Raises:
        ParityError: The file computes something else; only the report is written.
        ExportError: The model cannot be exported as asked; nothing is written.
    """
    data, options = data or ExportData(), options or ExportOptions()
    _refuse_quantized(model)
    if card is not None:
        metadata.load("metadata_schema_py_generated")
    with atomic_path(path) as temporary:
        fitting, in_float, notes = _fitting(model, format, options)
        source = _trained_for(fitting, format, data, options)
        exported = tflite.convert(
            source,
            temporary,
            format,
            representative_data=data.train,
            representative_samples=options.representative_samples,
            io_dtype=options.io_dtype,
            input_shape=options.input_shape,
            sizes=options.sizes,
            float_fallback=options.float_fallback,
            in_float=in_float,
        )
        if card is not None:
            metadata.write(temporary, card)
        reference = model if source is fitting else source
        found = _check(model, reference, path, exported, data, options, notes)
        size = temporary.stat().st_size
    return dataclasses.replace(exported, path=Path(path), size_bytes=size), found


def _fitting(
    model: keras.Model, format_: str, options: ExportOptions
) -> tuple[keras.Model, tuple[str, ...], list[str]]:
    """The model, or one that computes the same in what the accelerator has; what stays in float32
    for it; and notes of both."""
    if options.accelerator == "gpu":
        rewritten, counts = rewrite_for_gpu(model, options.input_shape)
        return rewritten, (), [f"rewritten for the GPU delegate: {_listed(counts)}"]
    if options.accelerator == "xnnpack" and format_ == "int8":
        rewritten, counts = rewrite_for_xnnpack(model, options.input_shape)
        note = f"rewritten for XNNPACK: {_listed(counts)}; softmax in float32"
        return rewritten, XNNPACK_IN_FLOAT, [note]
    return model, (), []


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} ×{count}" for name, count in counts.items()) or "nothing"


def _refuse_quantized(model: keras.Model):
    """Refuses what `model.quantize` made: .tflite has no operations for its weights."""
    for layer in model._flatten_layers(include_self=False):
        mode = graph_state.quantization(layer)
        if mode:
            raise ExportError(
                f"Layer '{layer.name}' ({type(layer).__name__}) is quantised by Keras ({mode}), "
                "for which .tflite has no operations: export the float model, with format='int8' "
                "or 'dynamic_int8'."
            )


def _trained_for(model: keras.Model, format_: str, data: ExportData, options: ExportOptions) -> Any:
    if format_ != "qat":
        return model
    if data.train is None:
        raise ExportError("Training data must be given for the format 'qat'.")
    return quantization.fine_tune(
        model,
        data.train,
        loss=options.qat_loss,
        epochs=options.qat_epochs,
        steps_per_epoch=options.qat_steps or None,
        learning_rate=options.qat_learning_rate,
    )


def _check(
    model: keras.Model,
    source: Any,
    path: str | os.PathLike[str],
    exported: ExportedModel,
    data: ExportData,
    options: ExportOptions,
    notes: list[str],
) -> Parity:
    held_out, metric, notes = data.held_out, data.metric, list(notes)
    again = data.train is not None and not isinstance(data.train, Iterator)
    if held_out is None and again and exported.format in NEED_DATA:
        held_out, metric = data.train, None
        notes.append("compared on the training data: no held-out data were given")
    elif held_out is None:
        shapes = list(exported.input_shapes.values())
        held_out, metric = random_batches(model, shapes, exported.sizes), None
        notes.append("compared on random inputs, real ones in [0, 1): no held-out data were given")
    return parity.check(
        source,
        exported.path,
        held_out,
        report=parity.parity_path(path),
        format=exported.format,
        metric=METRICS[metric] if metric else None,
        metric_name=metric or "",
        tolerance=options.tolerance,
        limit=options.parity_samples,
        baseline=None if source is model else model,
        notes=notes,
    )
