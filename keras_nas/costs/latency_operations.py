"""Which timed operations a model turns into when it is converted to .tflite.

The converter folds and fuses, and so does this: a BatchNormalization that alone reads a
convolution (or Dense) vanishes into it, a ReLU or ReLU6 that alone reads a convolution, an Add, a
Multiply or a pooling vanishes too, and views (Reshape, Dropout, …) cost nothing. Each gather cuts
XNNPACK's graph once more.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from keras_nas.costs.alignment import Alignment
from keras_nas.costs.free_operations import is_view
from keras_nas.costs.latency_condition import Condition
from keras_nas.errors import KerasNasError
from keras_nas.graph import Graph, Node, Value
from keras_nas.graph.kinds import activation_name, kind
from keras_nas.graph.sample_shapes import sample_shape

_FUSED_ACTIVATIONS = ("relu", "relu6")
_ACTIVATIONS: dict[str, tuple[str, ...]] = {
    "linear": (),
    "relu": ("relu",),
    "relu6": ("relu",),
    "leaky_relu": ("leaky_relu",),
    "sigmoid": ("sigmoid",),
    "tanh": ("tanh",),
    "silu": ("sigmoid", "multiply"),
    "swish": ("sigmoid", "multiply"),
    "hard_sigmoid": ("add", "multiply"),
    "hard_swish": ("hard_swish",),
    "hard_silu": ("hard_swish",),
    "softmax": ("softmax",),
}
_MERGES = {"Add": "add", "Subtract": "add", "Multiply": "multiply", "Maximum": "add"}
_POOLS = {"MaxPooling2D": "max_pool", "AveragePooling2D": "average_pool"}
_TAKES_NORMALIZATION, _TAKES_ACTIVATION = 2, 1
CUT_CHANNELS = 8
"""Of the tensor at which a partition is timed."""


@dataclasses.dataclass(frozen=True)
class TimedOperation:
    """One operation of the converted model.

    `name` is the name of the graph's node that it comes from; a node may make several.
    """

    name: str
    condition: Condition
    in_channels: int
    out_channels: int

    @property
    def flops(self) -> int:
        """Its work; see `Condition.flops`."""
        return self.condition.flops(self.in_channels, self.out_channels)

    def ends(self, tile: int) -> int:
        """How often it ends amid a vector; see `Condition.ends`."""
        return self.condition.ends(self.in_channels, self.out_channels, tile)


def timed_operations(
    graph: Graph, dtype: str = "float32", threads: int = 1
) -> list[TimedOperation]:
    """Lists the operations that the graph's .tflite will run, at batch 1.

    Args:
        graph: A graph with known shapes (`keras_nas.graph.read`).
        dtype: Of weights and activations in the .tflite: "float32" or "int8".
        threads: How many threads the runtime may use.

    Raises:
        KerasNasError: An operation is not known here, or a size is open.
    """
    batch = graph.inputs[0].shape[0] or 1
    reader = _Reader(batch, dtype, threads)
    for node in graph.nodes:
        reader.read(node)
    return reader.found


class _Reader:
    """Walks the nodes and keeps what each value may still take in."""

    def __init__(self, batch: int, dtype: str, threads: int) -> None:
        self._batch = batch
        self.found: list[TimedOperation] = []
        self.settings: dict[str, Any] = {"dtype": dtype, "threads": threads}
        self._open: dict[int, int] = {}
        self._node: Node

    def read(self, node: Node) -> None:
        self._node = node
        name = kind(node.operation)
        source = self._open.get(node.inputs[0].index, 0) if node.inputs else 0
        if len(node.inputs) != 1 or len(node.inputs[0].readers) > 1:
            source = 0
        if isinstance(node.operation, Alignment):
            self._align(node, node.operation)
        elif is_view(node.operation):
            self._pass_on(source)
        elif name == "BatchNormalization":
            self._normalize(source)
        elif _activation(node) is not None:
            self._activate(_activation(node) or "", source)
        else:
            rule = _RULES.get(name)
            if rule is None:
                raise KerasNasError(
                    f"The latency of layer '{node.name}' ({type(node.operation).__name__}) cannot "
                    f"be predicted: only {', '.join(sorted(_RULES))}, activations, normalisation "
                    "and views are known."
                )
            rule(self, node)
            self._activate_inside(node)

    def add(self, operation: str, source: Value, target: Value, **settings: Any) -> None:
        """Notes one timed operation from `source` to `target`."""
        _, height, width, in_channels = self.shape(source)
        out_channels = self.shape(target)[3]
        settings = {**self.settings, **settings}
        condition = Condition(operation, height, width, **settings)
        self.found.append(TimedOperation(self._node.name, condition, in_channels, out_channels))

    def move(self, operation: str, in_channels: int, out_channels: int) -> None:
        """Notes an operation that chooses among channels, and the partition that a gather makes."""
        _, height, width, _ = self.shape(self._node.outputs[0])
        condition = Condition(operation, height, width, **self.settings)
        found = TimedOperation(self._node.name, condition, in_channels, out_channels)
        self.found.append(found)
        if operation == "gather":
            cut = Condition("partition", 1, 1, **self.settings)
            self.found.append(TimedOperation(self._node.name, cut, CUT_CHANNELS, CUT_CHANNELS))

    def _align(self, node: Node, alignment: Alignment) -> None:
        before = self.shape(node.inputs[0])[3] if node.inputs else 0
        for what, channels in alignment.steps:
            self.move(what, before, channels)
            before = channels

    def shape(self, value: Value) -> tuple[int, int, int, int]:
        """Batch 1, height, width and channels; what is not four-dimensional becomes 1×n."""
        known, *shape = sample_shape(value) if None in value.shape else value.shape
        samples = 1 if value.shape[0] is None else self._batch
        rows = 1 if known is None else max(1, known // samples)
        if rows != 1 and len(shape) == 3:
            raise KerasNasError(
                f"Layer '{self._node.name}' works on {rows} images for each sample (space is "
                "folded into its batch): its latency is not known. Search for macs instead."
            )
        if None in shape:
            raise KerasNasError(
                f"The sizes at layer '{self._node.name}' must be known to predict its latency. "
                f"Received: {value.shape}"
            )
        sizes = [int(size) for size in shape if size is not None]
        if len(sizes) == 3:
            return 1, sizes[0], sizes[1], sizes[2]
        return 1, 1, rows * math.prod(sizes[:-1]), sizes[-1] if sizes else 1

    def leave_open(self, mark: int) -> None:
        """Says what the node's output may still take in."""
        self._open[self._node.outputs[0].index] = mark

    def _pass_on(self, mark: int) -> None:
        for value in self._node.outputs:
            self._open[value.index] = mark

    def _normalize(self, source: int) -> None:
        if source < _TAKES_NORMALIZATION:
            self._elementwise(("multiply", "add"))
            source = _TAKES_ACTIVATION
        self.leave_open(source)

    def _activate(self, name: str, source: int) -> None:
        if name not in _ACTIVATIONS:
            raise KerasNasError(
                f"The latency of layer '{self._node.name}' cannot be predicted: its activation "
                f"must be one of {', '.join(_ACTIVATIONS)}. "
                f"Received: {name or 'a function of yours'}"
            )
        if name == "linear":
            self.leave_open(source)
        elif not (source and name in _FUSED_ACTIVATIONS):
            self._elementwise(_ACTIVATIONS[name])

    def _activate_inside(self, node: Node) -> None:
        activation = getattr(node.operation, "activation", None)
        if activation is not None:
            mark = self._open.get(node.outputs[0].index, 0)
            self._open[node.outputs[0].index] = 0
            self._activate(activation_name(activation), mark)

    def _elementwise(self, operations: tuple[str, ...]) -> None:
        value = self._node.outputs[0]
        for operation in operations:
            self.add(operation, value, value)


def _activation(node: Node) -> str | None:
    """The name of the activation that the node is; None where it is something else."""
    operation, name = node.operation, kind(node.operation)
    if name == "Activation":
        return activation_name(operation.activation)
    if name == "ReLU":
        if operation.negative_slope:
            return "leaky_relu"
        return "relu6" if operation.max_value == 6 else "relu"
    plain = {"LeakyReLU": "leaky_relu", "Softmax": "softmax", "ops.Relu": "relu"}
    plain |= {"ops.Relu6": "relu6", "ops.Sigmoid": "sigmoid", "ops.Silu": "silu"}
    plain |= {"ops.Tanh": "tanh", "ops.Softmax": "softmax", "ops.HardSilu": "hard_silu"}
    return plain.get(name)


def _conv(reader: _Reader, node: Node) -> None:
    op = node.operation
    reader.add("conv", node.inputs[0], node.outputs[0], groups=op.groups, **_window(node))
    reader.leave_open(_TAKES_NORMALIZATION)


def _depthwise(reader: _Reader, node: Node) -> None:
    value = node.outputs[0]
    settings = _window(node)
    _, height, width, _ = reader.shape(node.inputs[0])
    channels = reader.shape(value)[3]
    condition = Condition("depthwise_conv", height, width, **settings, **reader.settings)
    reader.found.append(TimedOperation(node.name, condition, channels, channels))
    reader.leave_open(_TAKES_NORMALIZATION)


def _separable(reader: _Reader, node: Node) -> None:
    _, height, width, in_channels = reader.shape(node.inputs[0])
    _, rows, columns, out_channels = reader.shape(node.outputs[0])
    middle = in_channels * node.operation.depth_multiplier
    depthwise = Condition("depthwise_conv", height, width, **_window(node), **reader.settings)
    pointwise = Condition("conv", rows, columns, **reader.settings)
    reader.found.append(TimedOperation(node.name, depthwise, middle, middle))
    reader.found.append(TimedOperation(node.name, pointwise, middle, out_channels))
    reader.leave_open(_TAKES_NORMALIZATION)


def _transposed(reader: _Reader, node: Node) -> None:
    reader.add("transposed_conv", node.inputs[0], node.outputs[0], **_window(node))
    reader.leave_open(_TAKES_ACTIVATION)


def _dense(reader: _Reader, node: Node) -> None:
    rank = len(node.inputs[0].shape)
    reader.add("dense" if rank == 2 else "conv", node.inputs[0], node.outputs[0])
    reader.leave_open(_TAKES_NORMALIZATION)


def _pool(reader: _Reader, node: Node) -> None:
    op = node.operation
    reader.add(
        _POOLS[kind(op)],
        node.inputs[0],
        node.outputs[0],
        kernel=_pair(op.pool_size),
        stride=_pair(op.strides),
        padding=op.padding,
    )
    reader.leave_open(_TAKES_ACTIVATION)


def _global_pool(reader: _Reader, node: Node) -> None:
    reader.add("global_average_pool", node.inputs[0], node.outputs[0])


def _merge(reader: _Reader, node: Node) -> None:
    name = kind(node.operation)
    if len(node.inputs) == 1 and not name.startswith("ops."):
        reader.leave_open(0)  # what is left of a join whose other operands are gone
        return
    operation = _MERGES[name.removeprefix("ops.")]
    for _ in range(max(1, len(node.inputs) - 1)):
        reader.add(operation, node.outputs[0], node.outputs[0])
    reader.leave_open(_TAKES_ACTIVATION)


def _concatenate(reader: _Reader, node: Node) -> None:
    _, height, width, channels = reader.shape(node.outputs[0])
    condition = Condition("concatenate", height, width, **reader.settings)
    reader.found.append(TimedOperation(node.name, condition, channels // 2, channels))


def _scale(reader: _Reader, node: Node) -> None:
    for operation in ("multiply", "add"):
        reader.add(operation, node.outputs[0], node.outputs[0])


def _prelu(reader: _Reader, node: Node) -> None:
    reader.add("prelu", node.inputs[0], node.outputs[0])


def _pad(reader: _Reader, node: Node) -> None:
    before, after = reader.shape(node.inputs[0]), reader.shape(node.outputs[0])
    kernel = (after[1] - before[1] + 1, after[2] - before[2] + 1)
    reader.add("pad", node.inputs[0], node.outputs[0], kernel=kernel)


def _chosen(reader: _Reader, node: Node) -> None:
    """`ops.take` or indexing: among the channels a gather or a slice."""
    before, after = reader.shape(node.inputs[0]), reader.shape(node.outputs[0])
    moved = "gather" if kind(node.operation) == "ops.Take" else "slice"
    reader.move(moved, before[3], after[3])


def _resize(reader: _Reader, node: Node) -> None:
    before, after = reader.shape(node.inputs[0]), reader.shape(node.outputs[0])
    factor = (max(1, after[1] // before[1]), max(1, after[2] // before[2]))
    reader.add("resize", node.inputs[0], node.outputs[0], stride=factor)


def _depth_to_space(reader: _Reader, node: Node) -> None:
    before, after = reader.shape(node.inputs[0]), reader.shape(node.outputs[0])
    factor = (after[1] // before[1], after[2] // before[2])
    reader.add("depth_to_space", node.inputs[0], node.outputs[0], stride=factor)


_RULES: dict[str, Callable[[_Reader, Node], None]] = {
    "Conv2D": _conv,
    "DepthwiseConv2D": _depthwise,
    "SeparableConv2D": _separable,
    "Conv2DTranspose": _transposed,
    "Dense": _dense,
    "GlobalAveragePooling2D": _global_pool,
    "Concatenate": _concatenate,
    "Rescaling": _scale,
    "Normalization": _scale,
    "PReLU": _prelu,
    "ZeroPadding2D": _pad,
    "ops.Pad": _pad,
    "ops.Take": _chosen,
    "ops.GetItem": _chosen,
    "UpSampling2D": _resize,
    "Resizing": _resize,
    "ops.Resize": _resize,
    "ops.DepthToSpace": _depth_to_space,
    **dict.fromkeys(_POOLS, _pool),
    **dict.fromkeys([*_MERGES, *(f"ops.{name}" for name in _MERGES)], _merge),
}


def _window(node: Node) -> dict[str, Any]:
    op = node.operation
    kernel, stride = _pair(op.kernel_size), _pair(op.strides)
    return {"kernel": kernel, "stride": stride, "padding": op.padding}


def _pair(sizes: Any) -> tuple[int, int]:
    first, second = sizes if isinstance(sizes, (tuple, list)) else (sizes, sizes)
    return int(first), int(second)
