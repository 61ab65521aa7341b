"""The two blocks of DSO's normal search space, and how their nodes are connected."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Sequence

import keras
from keras import layers

from keras_nas.layers import ScaledEdge
from keras_nas.models.dso_edges import INPUT, OUTPUT, Edge, edge_name, node_levels
from keras_nas.models.dso_operations import apply_operation, apply_scaled_conv


class Connections(abc.ABC):
    """What a block asks about its edges."""

    @abc.abstractmethod
    def is_read(self, node: str) -> bool:
        """Whether an edge leaves `node`; without one it need not be made."""

    @abc.abstractmethod
    def connect(
        self, tensor: keras.KerasTensor, source: str, target: str
    ) -> keras.KerasTensor | None:
        """What `target` reads of `tensor`, the output of `source`; None where there is no edge."""


class ScaledConnections(Connections):
    """Every edge is there and carries a `ScaledEdge`.

    Args:
        block: Name of the block; empty where blocks share the edges.

    Attributes:
        edges: The layers by edge. Blocks that are given one `ScaledConnections` share them.
    """

    def __init__(self, block: str = ""):
        self.block = block
        self.edges: dict[Edge, ScaledEdge] = {}

    def is_read(self, node):
        return True

    def connect(self, tensor, source, target):
        if (source, target) not in self.edges:
            self.edges[source, target] = ScaledEdge(
                block=self.block,
                source=source,
                target=target,
                name=edge_name(self.block, source, target),
            )
        return self.edges[source, target](tensor)


class FixedConnections(Connections):
    """The edges of a list, without scales.

    Args:
        edges: The edges that are there; all of them where it is None.
    """

    def __init__(self, edges: Iterable[Edge] | None = None):
        self.edges = None if edges is None else {(source, target) for source, target in edges}

    def is_read(self, node):
        return self.edges is None or any(source == node for source, _ in self.edges)

    def connect(self, tensor, source, target):
        return tensor if self.edges is None or (source, target) in self.edges else None


def apply_dso_block(
    x: keras.KerasTensor,
    levels: int,
    operations: Sequence[str],
    connections: Connections,
    *,
    dilation: int = 1,
    scale: bool = True,
    drop_path: float = 0.0,
    name: str,
) -> keras.KerasTensor:
    """A block of Eq. 1, 2 and 8: a graph of operations between its input and its output.

    Every operation reads the sum of what its edges give it; the output is a 1×1 convolution over
    the concatenation of the nodes that feed it, plus the block's input. A node that reads nothing,
    or that nobody reads, is left out; a block whose output reads nothing is its input.

    Args:
        x: `(batch, height, width, channels)`.
        levels: M.
        operations: The N operations of each level, of `dso_operations.OPERATIONS`.
        connections: The edges, but for the first level's, which read the block's input as it is.
        dilation: Of the separable convolutions.
        scale: Whether BatchNormalization has a scale.
        drop_path: The probability that the block's graph is left out for an example in training.
        name: Prefix of the layers' names.

    References:
        Zhang et al., You Only Search Once: Single Shot Neural Architecture Search via Direct Sparse
        Optimization, section 3.1; drop path: Larsson et al., FractalNet (2017).
    """
    made = {INPUT: x}
    for level, nodes in enumerate(node_levels(levels, operations)):
        earlier = dict(made)
        for node, operation in zip(nodes, operations, strict=True):
            node_name = f"{name}_{node}"
            read = [x] if level == 0 else _connected(earlier, node, connections)
            if read and connections.is_read(node):
                made[node] = apply_operation(
                    _sum(read, f"{node_name}_sum"),
                    operation,
                    dilation=dilation,
                    scale=scale,
                    name=node_name,
                )
    del made[INPUT]
    fed = _connected(made, OUTPUT, connections)
    if not fed:
        return x
    if len(fed) > 1:
        fed = [layers.Concatenate(name=f"{name}_concat")(fed)]
    y = apply_scaled_conv(fed[0], x.shape[-1], 1, scale=scale, name=f"{name}_output")
    if drop_path:
        y = layers.Dropout(drop_path, noise_shape=(None, 1, 1, 1), name=f"{name}_drop_path")(y)
    return layers.Add(name=f"{name}_add")([x, y])


def apply_reduction_block(
    x: keras.KerasTensor,
    filters: int,
    connections: Connections,
    *,
    strides: int = 2,
    scale: bool = True,
    name: str,
) -> keras.KerasTensor:
    """The sum of a 1×1 and a 3×3 convolution, both strided, each with norm and ReLU.

    The 1×1 convolution's stride is a pooling of single pixels before it, which is the same:
    TensorFlow 2.19's oneDNN writes past its memory in the gradient of a strided 1×1 convolution of
    large images.

    Args:
        x: `(batch, height, width, channels)`.
        filters: Channels of the output.
        connections: The edges, from "conv1" and "conv3" to "output"; one of them at least.
        strides: Of both convolutions.
        scale: Whether BatchNormalization has a scale.
        name: Prefix of the layers' names.
    """
    sources = {}
    if connections.is_read("conv1"):
        pixels = x
        if strides > 1:
            pixels = layers.AveragePooling2D(1, strides, name=f"{name}_conv1_stride")(x)
        sources["conv1"] = apply_scaled_conv(pixels, filters, 1, scale=scale, name=f"{name}_conv1")
    if connections.is_read("conv3"):
        sources["conv3"] = apply_scaled_conv(
            x, filters, 3, strides, scale=scale, name=f"{name}_conv3"
        )
    return _sum(_connected(sources, OUTPUT, connections), f"{name}_add")


def _connected(sources, target, connections) -> list[keras.KerasTensor]:
    tensors = [connections.connect(tensor, source, target) for source, tensor in sources.items()]
    return [tensor for tensor in tensors if tensor is not None]


def _sum(tensors, name) -> keras.KerasTensor:
    return tensors[0] if len(tensors) == 1 else layers.Add(name=name)(tensors)
