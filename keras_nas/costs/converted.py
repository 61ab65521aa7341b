"""What the converter makes of a graph: the operations, tensors and constants of its .tflite.

It folds and fuses as the converter does: a BatchNormalization that alone reads a convolution (or
Dense) vanishes into its kernel and bias, a ReLU or ReLU6 that alone reads a convolution, a sum, a
product or a pooling vanishes too, and what does nothing at inference (Dropout) is not there.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from keras import layers

from keras_nas.costs.free_operations import is_view
from keras_nas.costs.layer_costs import closed_shape, layer_costs
from keras_nas.graph import Graph, Node, Value
from keras_nas.graph.kinds import activation_name, kind
from keras_nas.layers import Gate

KERNEL, BIAS, ZEROS, FACTOR, INDEX = "kernel", "bias", "zeros", "factor", "index"
"""What a constant is: a product's kernel, its bias, the zeros that the converter makes where the
layer has none, another number of the network, or int32."""


@dataclasses.dataclass(eq=False)
class Tensor:
    """A tensor of activations.

    Attributes:
        elements: How many values it has, at batch 1.
        rank: Its axes.
        names: Lengths of the names that it is made of, one a layer that is fused in it, in letters
            behind the model's.
    """

    elements: int
    rank: int
    names: list[int] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Constant:
    """A constant of the file.

    Attributes:
        what: `KERNEL`, `BIAS`, `ZEROS`, `FACTOR` or `INDEX`.
        elements: How many values it has.
        channels: Those that a quantised one has a scale each for.
        rank: Its axes.
    """

    what: str
    elements: int
    channels: int = 1
    rank: int = 1


@dataclasses.dataclass
class Operation:
    """An operation of the file: `name` is its kind, such as "conv"."""

    name: str
    inputs: list[Tensor]
    output: Tensor
    constants: list[Constant] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Converted:
    """A converted graph: its operations in the order in which they run."""

    operations: list[Operation]
    inputs: list[Tensor]
    outputs: list[Tensor]


_TAKES_NORMALIZATION, _TAKES_ACTIVATION = 2, 1
_FUSED = ("relu", "relu6")
_ACTIVATIONS = {
    "silu": ("logistic", "mul"),
    "swish": ("logistic", "mul"),
    "hard_sigmoid": ("add", "mul"),
    "linear": (),
}
_PRODUCTS = (
    layers.Conv1D, layers.Conv2D, layers.Conv3D, layers.DepthwiseConv1D, layers.DepthwiseConv2D,
    layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose, layers.Dense,
)  # fmt: skip
_TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
_MERGES = ("Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract")
_RESHAPES = ("Flatten", "Reshape", "ExpandDims", "Ravel", "Squeeze", "View")
_INDEXED = {
    "GlobalAveragePooling1D": 1, "GlobalAveragePooling2D": 2, "GlobalMaxPooling2D": 2,
    "ZeroPadding1D": 6, "ZeroPadding2D": 8, "Pad": 8, "UpSampling2D": 2, "Resizing": 2, "Resize": 2,
    "Permute": 4, "Transpose": 4,
}  # fmt: skip
_POOLS = ("AveragePooling2D", "MaxPooling2D")


def convert(graph: Graph) -> Converted:
    """The operations of the graph's .tflite, at batch 1.

    An operation that is not known here counts as one, with the layer's weights.

    Raises:
        KerasNasError: If a size is open.
    """
    return _Converter(graph).converted


class _Converter:
    """Walks the nodes and keeps what each value may still take in."""

    def __init__(self, graph: Graph):
        self.operations: list[Operation] = []
        self._tensors: dict[Value, Tensor] = {}
        self._open: dict[Value, int] = {}
        self._seen: set[str] = set()
        inputs = [self._tensor(value) for value in graph.inputs]
        for node in graph.nodes:
            self._read(node)
        self.converted = Converted(
            self.operations, inputs, [self._tensors[value] for value in graph.outputs]
        )

    def _tensor(self, value: Value) -> Tensor:
        if value not in self._tensors:
            shape = _closed(value)
            names = [] if value.producer is None else _names(value.producer)
            self._tensors[value] = Tensor(math.prod(shape), len(shape), names)
        return self._tensors[value]

    def _read(self, node: Node) -> None:
        operation, name = node.operation, kind(node.operation).removeprefix("ops.")
        mark = 0
        if len(node.inputs) == 1 and len(node.inputs[0].readers) == 1:
            mark = self._open.get(node.inputs[0], 0)
        if isinstance(operation, Gate) or (is_view(operation) and name not in _RESHAPES):
            self._pass_on(node, mark)
        elif name == "BatchNormalization":
            if mark == _TAKES_NORMALIZATION:
                self._pass_on(node, mark, fused=True)
            else:
                self._scaled(node, channels=node.inputs[0].channels or 1)
        elif _activation(node) is not None:
            self._activated(node, _activation(node) or "", mark)
        elif isinstance(operation, _PRODUCTS):
            self._product(node)
        elif isinstance(operation, (layers.SeparableConv1D, layers.SeparableConv2D)):
            self._separable(node)
        elif name in _MERGES:
            self._merged(node)
        elif name == "Concatenate":
            if len(node.inputs) == 1:
                self._pass_on(node, 0)
            else:
                self._add("concatenation", node)
        elif name in ("Rescaling", "Normalization"):
            if mark == _TAKES_NORMALIZATION:
                self._pass_on(node, mark, fused=True)
            else:
                self._rescaled(node)
        else:
            self._other(node, name)
        inner = getattr(operation, "activation", None)
        if inner is not None and _activation(node) is None:
            mark, self._open[node.outputs[0]] = self._open.get(node.outputs[0], 0), 0
            self._activate_output(node, activation_name(inner), mark)

    def _pass_on(self, node: Node, mark: int, fused: bool = False) -> None:
        for value in node.outputs:
            self._tensors[value] = tensor = self._tensor(node.inputs[0])
            if fused:
                tensor.names += _names(node)
            self._open[value] = mark

    def _add(self, name: str, node: Node, constants: tuple[Constant, ...] = (), mark: int = 0):
        """One operation from all the node's inputs to its outputs."""
        inputs = list(dict.fromkeys(self._tensor(value) for value in node.inputs))
        for value in node.outputs:
            self.operations.append(
                Operation(name, inputs, self._tensor(value), self._stored(node, constants))
            )
            self._open[value] = mark

    def _stored(self, node: Node, constants: tuple[Constant, ...]) -> list[Constant]:
        """The constants, but those of a layer that was called before."""
        known = node.operation_name in self._seen
        self._seen.add(node.operation_name)
        return [] if known else list(constants)

    def _then(self, name: str, value: Value, constants: tuple[Constant, ...] = ()) -> None:
        """One more operation on what stands for a value so far; its output stands for it then."""
        before = self._tensors[value]
        after = Tensor(before.elements, before.rank, before.names[-1:])
        self.operations.append(Operation(name, [before], after, list(constants)))
        self._tensors[value] = after

    def _product(self, node: Node) -> None:
        layer, (value,) = node.operation, node.outputs
        transposed = isinstance(layer, _TRANSPOSED)
        shapes = [_closed(v) for v in node.inputs], [_closed(value)]
        elements = layer_costs(layer, *shapes, use_bias=False).params
        channels = shapes[1][0][-1]
        dense = isinstance(layer, layers.Dense)
        constants = [Constant(KERNEL, elements, channels, 2 if dense else 4)]
        normalized = (
            any(kind(reader.operation) == "BatchNormalization" for reader in value.readers)
            and len(value.readers) == 1
        )
        if layer.use_bias or normalized:
            constants.append(Constant(BIAS, channels, channels))
        elif not (dense or transposed):
            constants.append(Constant(ZEROS, channels, channels))
        if transposed:
            constants.append(Constant(INDEX, 4))
        name = "dense" if dense else "transpose_conv" if transposed else "conv"
        if "Depthwise" in type(layer).__name__:
            name = "depthwise_conv"
        self._add(name, node, tuple(constants), _TAKES_NORMALIZATION)

    def _separable(self, node: Node) -> None:
        layer, (value,) = node.operation, node.outputs
        *space, channels = _closed(value)
        inputs = _closed(node.inputs[0])[-1]
        middle = inputs * layer.depth_multiplier
        between = Tensor(math.prod(space) * middle, len(space) + 1)
        first = [
            Constant(KERNEL, math.prod(layer.kernel_size) * middle, middle, 4),
            Constant(BIAS, middle, middle),
        ]
        second = [
            Constant(KERNEL, middle * channels, channels, 4),
            Constant(BIAS, channels, channels),
        ]
        known = not self._stored(node, tuple(first))
        first, second = ([], []) if known else (first, second)
        source = self._tensor(node.inputs[0])
        self.operations.append(Operation("depthwise_conv", [source], between, first))
        self.operations.append(Operation("conv", [between], self._tensor(value), second))
        self._open[value] = _TAKES_NORMALIZATION

    def _scaled(self, node: Node, channels: int, offset: bool = True) -> None:
        """A product and a sum with constants, one a channel."""
        factor = Constant(FACTOR, channels, 1, 1)
        (value,) = node.outputs
        source = self._tensor(node.inputs[0])
        tensor = self._tensor(value)
        self.operations.append(Operation("mul", [source], tensor, self._stored(node, (factor,))))
        if offset:
            self._then("add", value, (factor,))
        self._open[value] = _TAKES_ACTIVATION

    def _rescaled(self, node: Node) -> None:
        layer = node.operation
        if kind(layer) == "Normalization":
            self._scaled(node, node.inputs[0].channels or 1)
            return
        scale, offset = np.asarray(layer.scale), np.asarray(layer.offset)
        if np.all(scale == 1) and np.any(offset):
            self._add("add", node, (Constant(FACTOR, offset.size),), _TAKES_ACTIVATION)
        else:
            self._scaled(node, max(scale.size, offset.size), bool(np.any(offset)))

    def _merged(self, node: Node) -> None:
        if len(node.inputs) == 1:
            self._pass_on(node, 0)
            return
        (value,) = node.outputs
        tensors = [self._tensor(source) for source in node.inputs]
        tensor = self._tensor(value)
        summed = tensors[0]
        for other in tensors[1:]:
            result = tensor if other is tensors[-1] else Tensor(tensor.elements, tensor.rank)
            self.operations.append(Operation("add", [summed, other], result))
            summed = result
        self._open[value] = _TAKES_ACTIVATION

    def _activated(self, node: Node, name: str, mark: int) -> None:
        if name == "linear" or (mark and name in _FUSED):
            self._pass_on(node, mark if name == "linear" else 0, fused=name != "linear")
            return
        self._pass_on(node, 0)
        self._activate_output(node, name, 0)

    def _activate_output(self, node: Node, name: str, mark: int) -> None:
        if mark and name in _FUSED:
            return
        value = node.outputs[0]
        if name == "linear":
            self._open[value] = mark
            return
        source = self._tensors[value]
        for step in _ACTIVATIONS.get(name, (name,)):
            self._then(step, value)
        if name in ("silu", "swish"):
            self.operations[-1].inputs.append(source)

    def _other(self, node: Node, name: str) -> None:
        params = 0
        if getattr(node.operation, "weights", None):
            shapes = [[_closed(v) for v in values] for values in (node.inputs, node.outputs)]
            counted = layer_costs(node.operation, *shapes)
            params = counted.params + counted.state
        constants = [Constant(FACTOR, params)] if params else []
        if name in _INDEXED or name in _RESHAPES:
            rank = len(node.outputs[0].shape)
            constants.append(Constant(INDEX, _INDEXED.get(name, rank)))
        mark = _TAKES_ACTIVATION if name in _POOLS else 0
        label = "reshape" if name in _RESHAPES else name.lower() or type(node.operation).__name__
        self._add(label, node, tuple(constants), mark)


def _names(node: Node) -> list[int]:
    """Lengths of the names, such as `stem_bn_1/batchnorm/sub`, that a node gives its tensor."""
    name = kind(node.operation)
    ends = [len("/Relu")]
    if name == "BatchNormalization":
        ends = [len("/batchnorm/add_1"), len("/batchnorm/sub")]
    elif isinstance(node.operation, _PRODUCTS):
        ends = [len("/convolution")]
        if node.operation.use_bias:
            ends += [len("/BiasAdd"), len("/Squeeze")]
    return [len(node.name) + len("_1") + end for end in ends]


def _activation(node: Node) -> str | None:
    """The name of the activation that the node is; None where it is something else."""
    operation, name = node.operation, kind(node.operation)
    if name == "Activation":
        return activation_name(operation.activation) or "own"
    if name == "ReLU":
        if operation.negative_slope:
            return "leaky_relu"
        return "relu6" if operation.max_value == 6 else "relu"
    return _PLAIN.get(name)


_PLAIN: dict[str, str] = {
    "LeakyReLU": "leaky_relu",
    "Softmax": "softmax",
    "ELU": "elu",
    **{
        f"ops.{name}": label
        for name, label in {
            "Relu": "relu", "Relu6": "relu6", "Sigmoid": "sigmoid", "Silu": "silu", "Tanh": "tanh",
            "Softmax": "softmax", "HardSilu": "hard_swish", "HardSwish": "hard_swish",
        }.items()
    },
}  # fmt: skip


def _closed(value: Value) -> tuple[int, ...]:
    """The shape at batch 1."""
    return closed_shape(value.shape, value.source)
