"""From a float .tflite with measured ranges to an integer one that the kernels take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.lite.python import convert as tflite_convert
from tensorflow.lite.python.optimize import calibrator

from export import flatbuffer

_PRODUCTS = {
    "BATCH_MATMUL", "CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MUL",
    "TRANSPOSE_CONV",
}  # fmt: skip
_BIASED = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
_SPLITS = {"SPLIT", "SPLIT_V"}
_SUMS = {"ADD", "SUB"}
_ZERO = 1e-30
"""Ranges below it are the quantiser's stand-in for an empty one, 1.2e-38."""
_DEAD_SHARE = 2.0**-4
_LEAST_SHARE = 2.0**-14
_LEAST_SUM = 2.0**-7
_LEAST_SUMMAND = 2.0**-9


def widen_dead_ranges(content: bytes) -> bytes:
    """Gives activations that were 0, or nearly, on all samples a range that kernels can work with.

    Of a range of 0 the quantiser makes a scale of 8e-9 or 4e-43. XNNPACK does not take a product or
    a sum whose scale is below 1/256 of its operands' (of two operands, of their product), nor a
    summand whose scale is below 1/1024 of the sum's; the sum in 16 bits ends the process at 2⁻¹⁴;
    and biases behind such a scale leave their 32 bits. A range of 0 becomes 1/16 of what the
    operation's operands reach (the product of their largest values, else their largest value), so
    that what no sample showed is not cut off at once. A small range becomes 2⁻¹⁴ of that, a sum's
    2⁻⁷, which is finer than its operands' steps, and a summand's 2⁻⁹ of the sum's. Zero stays
    exactly zero.

    Args:
        content: A float .tflite with the minimum and maximum of its activations.
    """
    model = flatbuffer.read(content)
    for graph in model.subgraphs:
        ranges = _Ranges(model, graph)
        for index in graph.inputs:
            ranges.widen(index, 1.0, least_share=0.0)
        for operator in graph.operators:
            name = flatbuffer.name_of(model, operator)
            reach = ranges.reach(operator, name)
            for index in operator.outputs:
                ranges.widen(index, reach, _LEAST_SUM if name in _SUMS else _LEAST_SHARE)
        for operator in graph.operators:
            if flatbuffer.name_of(model, operator) in _SUMS:
                total = ranges.largest(operator.outputs[0]) or 0.0
                for index in operator.inputs:
                    ranges.widen(index, total, _LEAST_SUMMAND)
    return flatbuffer.write(model)


def quantize(
    content: bytes, format_: str, io_dtype: str, float_fallback: bool, in_float: Sequence[str] = ()
) -> bytes:
    """Quantises a float .tflite by the ranges that it holds.

    Args:
        content: The file, from `widen_dead_ranges`.
        format_: "int8" or "int16x8".
        io_dtype: The type of the inputs and outputs.
        float_fallback: Whether "int16x8" may keep operations without integer kernel in float32;
            "int8" always does.
        in_float: Operations that "int8" keeps in float32.

    Raises:
        RuntimeError: An operation cannot be quantised.
    """
    outside = tf.as_dtype(io_dtype)
    if format_ == "int16x8":
        content = _with_flat_biases(content)
    if format_ == "int8":
        return _with_integer_splits(
            tflite_convert.mlir_quantize(
                content, input_data_type=outside, output_data_type=outside,
                denylisted_ops=list(in_float) or None,
            )
        )  # fmt: skip
    number = np.dtype(outside.as_numpy_dtype).num
    wrapper = calibrator.Calibrator(content)._calibrator
    return wrapper.QuantizeModel(
        number, number, float_fallback, np.dtype("int16").num, np.dtype("int64").num, False, False
    )


def _with_flat_biases(content: bytes) -> bytes:
    """Gives biases the shape (n,), which this quantiser asks for; folding can leave (1, n)."""
    model = flatbuffer.read(content)
    for graph in model.subgraphs:
        for operator in graph.operators:
            if flatbuffer.name_of(model, operator) in _BIASED and len(operator.inputs) > 2:
                tensor = graph.tensors[operator.inputs[2]]
                if operator.inputs[2] >= 0 and len(tensor.shape) > 1:
                    tensor.shape = [int(np.prod(tensor.shape))]
    return flatbuffer.write(model)


def _with_integer_splits(content: bytes) -> bytes:
    """Lets a split that was left in float32 between conversions split the integers.

    The quantiser does so at times where an output is not read, as in the first step of a recurrent
    layer, whose state is 0. All the scales are the same.
    """
    model = flatbuffer.read(content)
    for graph in model.subgraphs:
        makers = {index: o for o in graph.operators for index in o.outputs}
        for split in graph.operators:
            if flatbuffer.name_of(model, split) not in _SPLITS:
                continue
            place = 1 if flatbuffer.name_of(model, split) == "SPLIT" else 0
            source = makers.get(split.inputs[place])
            if source is not None and flatbuffer.name_of(model, source) == "DEQUANTIZE":
                _split_integers(model, graph, split, place, source.inputs[0])
        _drop_unread_conversions(model, graph)
    return flatbuffer.write(model)


def _split_integers(model: Any, graph: Any, split: Any, place: int, source: int) -> None:
    tensor = graph.tensors[source]
    readers = {index: [o for o in graph.operators if index in o.inputs] for index in split.outputs}
    for index, found in readers.items():
        for reader in found:
            result = graph.tensors[reader.outputs[0]]
            same = flatbuffer.name_of(model, reader) == "QUANTIZE" and _same_scale(tensor, result)
            if not same:
                return
        if index in graph.outputs:
            return
    split.inputs[place] = source
    for index, found in readers.items():
        graph.tensors[index].type = tensor.type
        graph.tensors[index].quantization = tensor.quantization
        for reader in found:
            for other in graph.operators:
                other.inputs = [index if i == reader.outputs[0] else i for i in other.inputs]
            graph.outputs = [index if i == reader.outputs[0] else i for i in graph.outputs]


def _same_scale(a: Any, b: Any) -> bool:
    first, second = a.quantization, b.quantization
    return (
        a.type == b.type
        and np.array_equal(first.scale, second.scale)
        and np.array_equal(first.zeroPoint, second.zeroPoint)
    )


def _drop_unread_conversions(model: Any, graph: Any) -> None:
    read = {index for operator in graph.operators for index in operator.inputs}
    read |= set(graph.outputs)
    graph.operators = [
        operator
        for operator in graph.operators
        if flatbuffer.name_of(model, operator) not in ("DEQUANTIZE", "QUANTIZE")
        or read & set(operator.outputs)
    ]


class _Ranges:
    """The largest absolute values of a graph's real tensors."""

    def __init__(self, model: Any, graph: Any):
        self._model, self._graph = model, graph

    def largest(self, index: int) -> float | None:
        """Returns a tensor's; None for integers and for what was not measured."""
        if index < 0:
            return None
        tensor = self._graph.tensors[index]
        if flatbuffer.dtype_of(tensor) != "float32":
            return None
        data = self._model.buffers[tensor.buffer].data
        if data is not None and len(data):
            values = np.frombuffer(bytes(data), "<f4")
            return float(np.max(np.abs(values[np.isfinite(values)]), initial=0.0))
        bounds = _bounds(tensor)
        return None if bounds is None else max(map(abs, bounds))

    def reach(self, operator: Any, name: str) -> float:
        """Returns how far an operation's output may be expected to go; its bias does not count."""
        found = [self.largest(index) for index in operator.inputs]
        known = [value for value in found if value is not None]
        if name not in _PRODUCTS:
            return max(known, default=0.0)
        return float(np.prod([value or 1.0 for value in known[:2]]))

    def widen(self, index: int, reach: float, least_share: float) -> None:
        """Widens a measured range that is 0, or smaller than `least_share` of `reach`."""
        if index < 0:
            return
        tensor = self._graph.tensors[index]
        bounds = _bounds(tensor)
        if bounds is None or flatbuffer.dtype_of(tensor) != "float32":
            return
        largest = max(map(abs, bounds))
        wanted = reach * (_DEAD_SHARE if largest <= _ZERO else least_share)
        if largest < wanted:
            tensor.quantization.max = [wanted]
            tensor.quantization.min = [-wanted if bounds[0] < 0 else 0.0]


def _bounds(tensor: Any) -> tuple[float, float] | None:
    ranges = tensor.quantization
    if ranges is None or ranges.min is None or ranges.max is None or not len(ranges.min):
        return None
    return float(np.min(ranges.min)), float(np.max(ranges.max))
