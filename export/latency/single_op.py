"""A .tflite file of one operation, written directly as a flatbuffer.

Converting a Keras layer takes a second or more, which adds up over the hundreds of points of a
latency grid. Here the file is put together in a few milliseconds: an input, constants with random
values, and several copies of the operation side by side. The copies share the input and have
constants of their own, as the layers of a network do; dividing the file's time by their number
takes out most of what a call of the interpreter costs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export import flatbuffer
from keras_nas.costs.latency_condition import Condition
from keras_nas.errors import UsageError

_TWO_INPUTS = ("add", "multiply", "concatenate")
_FREE_OUTPUT = ("conv", "transposed_conv", "dense", "gather", "slice", "pad")
_SCALE = 0.05
_BUILTIN = schema.BuiltinOperator
_OPTIONS = schema.BuiltinOptions


def build(
    condition: Condition, in_channels: int, out_channels: int, copies: int = 1, seed: int = 0
) -> bytes:
    """Returns a .tflite file that computes one operation `copies` times from one input.

    The file has one input (two for "add", "multiply" and "concatenate") of batch size 1 and an
    output for each copy. Of "partition" the copies stand behind each other, a gather and a sum
    each, of which the delegate takes the second: as many partitions, and one output.

    Args:
        condition: The operation and its sizes.
        in_channels, out_channels: Channels of input and output, which are equal for all operations
            but "conv", "transposed_conv", "dense", "gather", "slice" (fewer), "pad" (more: zeros
            behind them), "concatenate" (each input has half of the output's) and "depth_to_space".
        copies: How often the operation stands in the file.
        seed: For the constants' random values.

    Raises:
        KerasNasError: The channels do not go together with the operation.
    """
    op = _Op(condition, in_channels, out_channels)
    writer = _Writer(op, np.random.default_rng(seed))
    second = op.operation in _TWO_INPUTS
    inputs = [writer.activation(*writer.input_shape) for _ in range(1 + second)]
    for _ in range(copies):
        writer.add(inputs)
    return flatbuffer.write(writer.model(inputs))


class _Op:
    """A condition with its channels."""

    def __init__(self, condition: Condition, in_channels: int, out_channels: int) -> None:
        self.operation, self.dtype = condition.operation, condition.dtype
        self.height, self.width = condition.height, condition.width
        self.kernel, self.stride = condition.kernel, condition.stride
        self.groups, self.padding = condition.groups, condition.padding
        self.output_size = condition.output_size
        self.in_channels, self.out_channels = in_channels, out_channels
        _check(condition, in_channels, out_channels)


class _Writer:
    """The tensors, constants and operations of a file in the making."""

    def __init__(self, op: _Op, random: np.random.Generator) -> None:
        self._op = op
        self._random = random
        self._tensors: list[Any] = []
        self._buffers: list[Any] = [schema.BufferT()]
        self._operators: list[Any] = []
        self._outputs: list[int] = []
        self._code, self._kind, self._options = _operator(op)

    @property
    def input_shape(self) -> tuple[int, ...]:
        op = self._op
        if op.operation == "dense":
            return (1, op.in_channels)
        channels = op.out_channels // 2 if op.operation == "concatenate" else op.in_channels
        return (1, op.height, op.width, channels)

    @property
    def output_shape(self) -> tuple[int, ...]:
        op = self._op
        if op.operation == "dense":
            return (1, op.out_channels)
        return (1, *op.output_size, op.out_channels)

    def activation(self, *shape: int) -> int:
        """Adds a tensor without content and returns its index."""
        scales = [_SCALE] if self._op.dtype == "int8" else None
        if self._op.operation in ("softmax", "sigmoid") and self._tensors and scales:
            scales = [1 / 256]  # what the kernels of these operations ask of their output
        elif self._op.operation == "tanh" and self._tensors and scales:
            scales = [1 / 128]
        zero = -128 if scales == [1 / 256] else 0
        return self._tensor(shape, self._op.dtype, 0, scales, 0, zero)

    def add(self, inputs: list[int]) -> None:
        """Adds one copy of the operation with constants of its own."""
        if self._op.operation == "partition":
            self._run(0, self._operands(self._outputs or inputs))
            total = self._run(1, 2 * self._operators[-1].outputs)
            total.builtinOptionsType = _OPTIONS.AddOptions
            total.builtinOptions = schema.AddOptionsT()
            self._outputs = total.outputs
        else:
            self._outputs += self._run(0, self._operands(inputs)).outputs

    def _run(self, code: int, operands: list[int]) -> Any:
        """Adds an operator by the number of its code."""
        operator = schema.OperatorT()
        operator.opcodeIndex = code
        operator.inputs = operands
        operator.outputs = [self.activation(*self.output_shape)]
        operator.builtinOptionsType = self._kind
        operator.builtinOptions = self._options
        self._operators.append(operator)
        return operator

    def model(self, inputs: list[int]) -> Any:
        """Returns the finished file's `ModelT`."""
        graph = schema.SubGraphT()
        graph.tensors, graph.operators = self._tensors, self._operators
        graph.inputs, graph.outputs = inputs, self._outputs
        graph.name = b"main"
        codes = [_operator_code(self._code, _version(self._op))]
        if self._op.operation == "partition":
            codes.append(_operator_code(_BUILTIN.ADD, 2 if self._op.dtype == "int8" else 1))
        model = schema.ModelT()
        model.version, model.description = 3, b"keras_nas latency grid"
        model.operatorCodes, model.subgraphs, model.buffers = codes, [graph], self._buffers
        return model

    def _operands(self, inputs: list[int]) -> list[int]:
        """Makes the constants of one copy and returns all that it reads, in the schema's order."""
        op = self._op
        if op.operation == "transposed_conv":
            shape = self._constant(np.array(self.output_shape, np.int32))
            kernel = (op.out_channels, *op.kernel, op.in_channels)
            weights, bias = self._weights(kernel, 0, op.out_channels)
            return [shape, weights, *inputs, bias]
        return [*inputs, *self._constants()]

    def _constants(self) -> list[int]:
        op = self._op
        if op.operation == "conv":
            shape = (op.out_channels, *op.kernel, op.in_channels // op.groups)
            return self._weights(shape, 0, op.out_channels)
        if op.operation == "depthwise_conv":
            return self._weights((1, *op.kernel, op.out_channels), 3, op.out_channels)
        if op.operation == "dense":
            return self._weights((op.out_channels, op.in_channels), 0, op.out_channels)
        if op.operation == "pad":
            rows, columns = op.kernel[0] - 1, op.kernel[1] - 1
            widths = [[0, 0], [rows // 2, rows - rows // 2], [columns // 2, columns - columns // 2]]
            behind = [0, op.out_channels - op.in_channels]
            return [self._constant(np.array([*widths, behind], np.int32))]
        if op.operation in ("gather", "partition"):
            places = np.linspace(0, op.in_channels - 1, op.out_channels).round()
            return [self._constant(places[::-1].astype(np.int32))]
        if op.operation == "slice":
            ends = [1, op.height, op.width, op.out_channels]
            bounds = ([0, 0, 0, 0], ends, [1, 1, 1, 1])
            return [self._constant(np.array(bound, np.int32)) for bound in bounds]
        if op.operation == "resize":
            return [self._constant(np.array(op.output_size, np.int32))]
        if op.operation == "global_average_pool":
            return [self._constant(np.array([1, 2], np.int32))]
        if op.operation == "prelu":
            slopes = np.full((1, 1, op.in_channels), 0.25, np.float32)
            if op.dtype == "float32":
                return [self._constant(slopes)]
            return [self._constant((100 * slopes).astype(np.int8), [0.01])]
        return []

    def _weights(self, shape: tuple[int, ...], axis: int, channels: int) -> list[int]:
        if self._op.dtype == "float32":
            fan_in = max(1, int(np.prod(shape)) // channels)
            kernel = self._random.normal(0, fan_in**-0.5, shape).astype(np.float32)
            return [self._constant(kernel), self._constant(np.zeros(channels, np.float32))]
        kernel = self._random.integers(-127, 128, shape).astype(np.int8)
        scales = [0.01] * (1 if self._op.operation == "dense" else channels)
        bias = np.zeros(channels, np.int32)
        return [
            self._constant(kernel, scales, axis),
            self._constant(bias, [scale * _SCALE for scale in scales], 0),
        ]

    def _constant(self, value: np.ndarray, scales: list[float] | None = None, axis: int = 0) -> int:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(value.tobytes(), np.uint8)
        self._buffers.append(buffer)
        return self._tensor(value.shape, value.dtype.name, len(self._buffers) - 1, scales, axis)

    def _tensor(
        self,
        shape: tuple[int, ...],
        dtype: str,
        buffer: int,
        scales: list[float] | None,
        axis: int,
        zero_point: int = 0,
    ) -> int:
        tensor = schema.TensorT()
        tensor.name = f"tensor_{len(self._tensors)}".encode()
        tensor.shape, tensor.buffer = list(shape), buffer
        tensor.type = getattr(schema.TensorType, dtype.upper())
        if scales is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = scales
            tensor.quantization.zeroPoint = [zero_point] * len(scales)
            tensor.quantization.quantizedDimension = axis
        self._tensors.append(tensor)
        return len(self._tensors) - 1


def _operator(op: _Op) -> tuple[int, int, Any]:
    """Returns the operation's code and its options' kind and content."""
    if op.operation == "conv":
        return _BUILTIN.CONV_2D, _OPTIONS.Conv2DOptions, _strided(schema.Conv2DOptionsT(), op)
    if op.operation == "depthwise_conv":
        options = _strided(schema.DepthwiseConv2DOptionsT(), op)
        options.depthMultiplier = 1
        return _BUILTIN.DEPTHWISE_CONV_2D, _OPTIONS.DepthwiseConv2DOptions, options
    if op.operation in ("max_pool", "average_pool"):
        options = _strided(schema.Pool2DOptionsT(), op)
        options.filterHeight, options.filterWidth = op.kernel
        code = _BUILTIN.MAX_POOL_2D if op.operation == "max_pool" else _BUILTIN.AVERAGE_POOL_2D
        return code, _OPTIONS.Pool2DOptions, options
    if op.operation == "dense":
        options = schema.FullyConnectedOptionsT()
        return _BUILTIN.FULLY_CONNECTED, _OPTIONS.FullyConnectedOptions, options
    if op.operation == "global_average_pool":
        options = schema.ReducerOptionsT()
        options.keepDims = True
        return _BUILTIN.MEAN, _OPTIONS.ReducerOptions, options
    if op.operation == "concatenate":
        options = schema.ConcatenationOptionsT()
        options.axis = 3
        return _BUILTIN.CONCATENATION, _OPTIONS.ConcatenationOptions, options
    if op.operation in ("gather", "partition"):
        options = schema.GatherOptionsT()
        options.axis = 3
        return _BUILTIN.GATHER, _OPTIONS.GatherOptions, options
    if op.operation == "slice":
        return _BUILTIN.STRIDED_SLICE, _OPTIONS.StridedSliceOptions, schema.StridedSliceOptionsT()
    if op.operation == "softmax":
        options = schema.SoftmaxOptionsT()
        options.beta = 1.0
        return _BUILTIN.SOFTMAX, _OPTIONS.SoftmaxOptions, options
    if op.operation == "resize":
        options = schema.ResizeBilinearOptionsT()
        options.halfPixelCenters = True
        return _BUILTIN.RESIZE_BILINEAR, _OPTIONS.ResizeBilinearOptions, options
    if op.operation == "depth_to_space":
        options = schema.DepthToSpaceOptionsT()
        options.blockSize = op.stride[0]
        return _BUILTIN.DEPTH_TO_SPACE, _OPTIONS.DepthToSpaceOptions, options
    if op.operation == "leaky_relu":
        options = schema.LeakyReluOptionsT()
        options.alpha = 0.1
        return _BUILTIN.LEAKY_RELU, _OPTIONS.LeakyReluOptions, options
    if op.operation == "transposed_conv":
        options = _strided(schema.TransposeConvOptionsT(), op)
        return _BUILTIN.TRANSPOSE_CONV, _OPTIONS.TransposeConvOptions, options
    plain = {
        "prelu": (_BUILTIN.PRELU, _OPTIONS.NONE, lambda: None),
        "add": (_BUILTIN.ADD, _OPTIONS.AddOptions, schema.AddOptionsT),
        "multiply": (_BUILTIN.MUL, _OPTIONS.MulOptions, schema.MulOptionsT),
        "pad": (_BUILTIN.PAD, _OPTIONS.PadOptions, schema.PadOptionsT),
        "relu": (_BUILTIN.RELU, _OPTIONS.NONE, lambda: None),
        "sigmoid": (_BUILTIN.LOGISTIC, _OPTIONS.NONE, lambda: None),
        "tanh": (_BUILTIN.TANH, _OPTIONS.NONE, lambda: None),
        "hard_swish": (_BUILTIN.HARD_SWISH, _OPTIONS.HardSwishOptions, schema.HardSwishOptionsT),
    }
    code, kind, make = plain[op.operation]
    return code, kind, make()


def _operator_code(builtin: int, version: int) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode, code.version = builtin, version
    code.deprecatedBuiltinCode = min(builtin, 127)
    return code


def _strided(options: Any, op: _Op) -> Any:
    options.strideH, options.strideW = op.stride
    options.padding = schema.Padding.SAME if op.padding == "same" else schema.Padding.VALID
    if hasattr(options, "dilationHFactor"):
        options.dilationHFactor = options.dilationWFactor = 1
    return options


def _version(op: _Op) -> int:
    """The version that the converter gives the operation."""
    if op.dtype == "float32":
        versions = {"conv": 6 if op.groups > 1 else 1, "resize": 3, "transposed_conv": 3}
        return versions.get(op.operation, 1)
    versions = {
        "conv": 3, "depthwise_conv": 3, "dense": 4, "resize": 3, "transposed_conv": 3,
        "hard_swish": 1, "prelu": 1,
    }  # fmt: skip
    if op.operation == "conv" and op.groups > 1:
        return 6
    return versions.get(op.operation, 2)


def _check(condition: Condition, in_channels: int, out_channels: int) -> None:
    factor = {"concatenate": 2.0, "depth_to_space": 1 / condition.stride[0] ** 2}
    expected = in_channels * factor.get(condition.operation, 1.0)
    if condition.operation not in _FREE_OUTPUT and out_channels != expected:
        raise UsageError(
            f"`out_channels` must be {expected:g} for {condition} of {in_channels} channels. "
            f"Received: out_channels={out_channels}"
        )
    if in_channels % condition.groups or (condition.groups > 1 and out_channels % condition.groups):
        raise UsageError(
            f"`in_channels` and `out_channels` must be multiples of {condition.groups} for "
            f"{condition}. Received: in_channels={in_channels}, out_channels={out_channels}"
        )
