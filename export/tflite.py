"""Keras models to .tflite files, in every format that phones run well."""

from __future__ import annotations

import dataclasses
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from export import calibration, flatbuffer, interpreter, samples, tracing
from export.errors import ExportError, UnsupportedOperationError
from export.export_options import FORMATS, IO_DTYPES
from export.quiet import quiet_stderr
from export.samples import Shape
from export.tracing import TracedModel
from keras_nas.files import atomic_write_bytes

_NEED_SAMPLES = ("int8", "int16x8")
_Samples = Callable[[], Iterator[list[Any]]]
_FAULTY_OPERATION = re.compile(r"'tf\.(\w+)' op is neither a custom op nor a flex op")
_LOOPS = ("Case", "If", "StatelessCase", "StatelessIf", "StatelessWhile", "While")
_UNMEASURED_TENSOR = re.compile(r"should be recorded during calibration: Failed for tensor (\S+)")
_UNQUANTIZED_OPERATION = re.compile(r"not yet supported for op: '(\w+)'")


@dataclasses.dataclass(frozen=True)
class ExportedModel:
    """A written .tflite.

    Attributes:
        path: Where it stands.
        format: One of `FORMATS`.
        size_bytes: The file's size.
        input_shapes: By input name; None where a size may change between calls.
        input_dtype: "float32", or the integer type asked for by `io_dtype`.
        operators: How often each operation of the runtime occurs.
        sizes: The (height, width) pairs that were tried, for a model of dynamic size.
        seconds: How long the conversion took.
    """

    path: Path
    format: str
    size_bytes: int
    input_shapes: dict[str, Shape]
    input_dtype: str
    operators: dict[str, int]
    sizes: list[tuple[int, int]]
    seconds: float


def convert(
    model: keras.Model,
    path: str | os.PathLike[str],
    format: str = "float32",  # noqa: A002
    *,
    representative_data: Any = None,
    representative_samples: int = 200,
    io_dtype: str = "float32",
    input_shape: Shape | Sequence[Shape] | None = None,
    sizes: Sequence[tuple[int, int]] | None = None,
    float_fallback: bool = False,
    in_float: Sequence[str] = (),
) -> ExportedModel:
    """Writes `model` as a .tflite of built-in operations, at once or not at all.

    The shape is fixed, with batch 1 where the model leaves it open, unless `sizes` asks for a
    dynamic one. The file has one
    signature, `serving_default`, with the Keras model's input and output names.

    Example:
        convert(model, "small.tflite")
        convert(model, "small_int8.tflite", "int8", representative_data=train.take(10))
        convert(upscaler, "x2.tflite", sizes=[(240, 320), (480, 640)])

    Args:
        model: Any built `keras.Model`; a subclassed one needs `input_shape`. For "qat" the
            `tf_keras` model that `export.quantization.fine_tune` returned.
        path: The file to write.
        format: "float32"; "float16" (weights); "dynamic_int8" (weights int8, activations
            quantised on the fly); "int8" (all int8); "int16x8" (activations int16, weights int8);
            "qat" (all int8, with the ranges that quantisation-aware training learned).
        representative_data: Real inputs that set the ranges of "int8" and "int16x8"; see
            `export.samples.batches` for what may be given.
        representative_samples: How many samples of it are used at most.
        io_dtype: The type of the file's inputs and outputs; the integer types are for the formats
            in `IO_DTYPES`.
        input_shape: The input's full shape with its batch, or a list of shapes.
        sizes: (height, width) pairs that the model must run at. The file's spatial sizes are
            dynamic then (`resize_tensor_input`), and every size is tried before it is written.
        float_fallback: Keep operations that have no integer kernel in float32, in place of the
            error.
        in_float: Operations by their names in .tflite, such as "SOFTMAX", that "int8" leaves in
            float32 although they have an integer kernel.

    Raises:
        UnsupportedOperationError: An operation has no built-in kernel, or no integer one.
        ExportError: The arguments do not go together or the model cannot be converted.
    """
    _check(format, io_dtype, representative_data, representative_samples)
    start = time.perf_counter()
    shapes = _dynamic_shapes(model, input_shape) if sizes else input_shape
    measured = format in _NEED_SAMPLES
    traced = tracing.trace(model, shapes, dynamic=bool(sizes), unroll=measured)
    if measured:
        _refuse_loops(traced, format)
    content = _convert(
        traced,
        _converter(traced, format, io_dtype, float_fallback, in_float),
        _calibration(traced, format, representative_data, representative_samples),
    )
    content = flatbuffer.add_signature(content, traced.input_names, traced.output_names)
    parsed = flatbuffer.read(content)
    _refuse_foreign_operators(parsed, traced)
    if format in ("int8", "int16x8", "qat") and not float_fallback:
        _refuse_float_operators(parsed, format, in_float)
    for size in sizes or ():
        _try_size(content, size)
    atomic_write_bytes(path, content)
    return ExportedModel(
        path=Path(path),
        format=format,
        size_bytes=len(content),
        input_shapes=dict(zip(traced.input_names, traced.input_shapes, strict=True)),
        input_dtype=flatbuffer.tensor_dtype(parsed, parsed.subgraphs[0].inputs[0]),
        operators=flatbuffer.operators(parsed),
        sizes=[(height, width) for height, width in sizes or ()],
        seconds=time.perf_counter() - start,
    )


def _check(format_: str, io_dtype: str, representative_data: Any, samples_: int) -> None:
    if format_ not in FORMATS:
        raise ExportError(f"`format` must be one of {FORMATS}. Received: format={format_!r}")
    if io_dtype not in IO_DTYPES[format_]:
        raise ExportError(
            f"`io_dtype` must be one of {IO_DTYPES[format_]} for the format {format_!r}. "
            f"Received: io_dtype={io_dtype!r}"
        )
    if format_ in _NEED_SAMPLES and representative_data is None:
        raise ExportError(
            f"`representative_data` must be given for the format {format_!r}: real inputs, a "
            "hundred or so, that set the ranges of the activations."
        )
    if samples_ < 1:
        raise ExportError(f"`representative_samples` must be 1 or more. Received: {samples_}")


def _dynamic_shapes(model: keras.Model, input_shape: Shape | Sequence[Shape] | None) -> list[Shape]:
    if input_shape is not None:
        raise ExportError("`input_shape` and `sizes` must not be given together.")
    shapes = [tuple(tensor.shape) for tensor in getattr(model, "inputs", None) or ()]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise ExportError(
            "`sizes` needs a model with one image input (batch, height, width, channels). "
            f"Received: inputs of shapes {shapes}"
        )
    if shapes[0][1:3] != (None, None):
        raise ExportError(
            "`sizes` needs a model whose height and width are None, e.g. "
            f"keras.Input((None, None, 3)). Received: an input of shape {shapes[0]}"
        )
    return [(1, None, None, shapes[0][3])]


def _converter(
    traced: TracedModel,
    format_: str,
    io_dtype: str,
    float_fallback: bool,
    in_float: Sequence[str],
) -> Callable[[_Samples | None], bytes]:
    """Returns the conversion, as a function of the samples that set ranges."""
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced.function], traced.function)
    # Freezing in memory gives the same file as the detour over a SavedModel, ten times faster.
    converter.experimental_lower_to_saved_model = False
    if format_ != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if format_ == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if format_ not in _NEED_SAMPLES:
        converter.inference_input_type = tf.as_dtype(io_dtype)
        converter.inference_output_type = tf.as_dtype(io_dtype)
        return lambda _: converter.convert()
    converter._experimental_calibrate_only = True

    def convert_measured(samples_: _Samples | None) -> bytes:
        converter.representative_dataset = samples_
        measured = calibration.widen_dead_ranges(converter.convert())
        return calibration.quantize(measured, format_, io_dtype, float_fallback, in_float)

    return convert_measured


def _calibration(
    traced: TracedModel,
    format_: str,
    data: Any,
    limit: int,
) -> _Samples | None:
    if format_ not in _NEED_SAMPLES:
        return None
    rows = samples.rows(data, traced.input_names, traced.input_shapes, limit)
    dtypes = [spec.dtype.as_numpy_dtype for spec in traced.function.structured_input_signature[0]]
    for name, shape, array in zip(traced.input_names, traced.input_shapes, rows[0], strict=True):
        if not interpreter.fits(np.shape(array), shape):
            raise ExportError(
                f"`representative_data` must fit the input `{name}` of shape {shape}. "
                f"Received: samples of shape {np.shape(array)}"
            )
    return lambda: (
        [array.astype(dtype) for array, dtype in zip(row, dtypes, strict=True)] for row in rows
    )


def _convert(
    traced: TracedModel,
    converter: Callable[[_Samples | None], bytes],
    samples_: _Samples | None,
) -> bytes:
    try:
        with quiet_stderr(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Statistics for quantized inputs")
            return converter(samples_)
    except Exception as error:
        text = str(error)
        faulty = sorted(set(_FAULTY_OPERATION.findall(text)) - {"Placeholder"})
        if faulty:
            raise UnsupportedOperationError(_foreign_message(faulty, traced), faulty) from error
        unquantized = sorted(set(_UNQUANTIZED_OPERATION.findall(text)))
        if unquantized:
            raise UnsupportedOperationError(
                _unquantized_message(unquantized, "integer"), unquantized
            ) from error
        unmeasured = _UNMEASURED_TENSOR.search(text)
        if unmeasured:
            raise UnsupportedOperationError(
                f"The tensor `{unmeasured[1]}` holds no real numbers, and this format has no "
                "kernels for what reads it. Choose another format.",
                [],
            ) from error
        raise ExportError(
            f"TFLite's converter does not take the model: {tracing.one_line(error)}"
        ) from error


def _refuse_loops(traced: TracedModel, format_: str) -> None:
    """Refuses what kills the process while the ranges are measured."""
    names = [name for name in _LOOPS if traced.places_of(name)]
    if names:
        places = sorted({place for name in names for place in traced.places_of(name)})
        raise UnsupportedOperationError(
            f"Loops and branches cannot be quantised for {format_}: {', '.join(names)} in "
            f"{', '.join(places)}. Choose the format dynamic_int8 or float16, or write the steps "
            "out.",
            names,
        )


def _refuse_foreign_operators(parsed: Any, traced: TracedModel) -> None:
    names = [name.removeprefix("Flex") for name in flatbuffer.custom_operators(parsed)]
    if names:
        raise UnsupportedOperationError(_foreign_message(names, traced), names)


def _refuse_float_operators(parsed: Any, format_: str, in_float: Sequence[str]) -> None:
    names = [name for name in flatbuffer.float_operators(parsed) if name not in in_float]
    if names:
        raise UnsupportedOperationError(_unquantized_message(names, format_), names)


def _foreign_message(names: list[str], traced: TracedModel) -> str:
    told = []
    for name in names:
        places = traced.places_of(name)
        told.append(f"{name} (in {', '.join(places)})" if places else name)
    return (
        f"The model needs operations that TFLite does not build in: {'; '.join(told)}. "
        "Replace them by built-in ones."
    )


def _unquantized_message(names: list[str], format_: str) -> str:
    return (
        f"These operations have no {format_} kernel: {', '.join(names)}. Choose another format, "
        "or `float_fallback=True` to keep them in float32."
    )


def _try_size(content: bytes, size: tuple[int, int]) -> None:
    runner = interpreter.Runner(content)
    ((_, _, _, channels),) = runner.input_shapes
    try:
        runner.resize([(1, *size, channels)])
    except RuntimeError as error:
        raise ExportError(f"The model does not run at the size {tuple(size)}: {error}") from error
