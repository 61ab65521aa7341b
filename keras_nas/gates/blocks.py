"""Residual and dense blocks: which convolutions begin one behind an identity connection."""

from __future__ import annotations

from collections.abc import Iterator

from keras_nas.gates.places import ACTIVATION_OPS
from keras_nas.gates.places import ACTIVATIONS as ACTIVATION_LAYERS
from keras_nas.graph import Graph, Node, Value, kinds
from keras_nas.graph.kinds import kind

ADDS = frozenset(["Add", "ops.Add"])
CONCATENATES = frozenset(["Concatenate", "ops.Concatenate"])
POOLS = frozenset(f"{name}Pooling{n}D" for name in ("Max", "Average") for n in (1, 2, 3))
NORMALIZATIONS = frozenset(["BatchNormalization", "LayerNormalization", "GroupNormalization"])
PLAIN = frozenset(
    "Identity ops.Identity Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D "
    "ZeroPadding1D ZeroPadding2D ZeroPadding3D ops.Pad Cropping1D Cropping2D Cropping3D "
    "ops.GetItem Rescaling".split()
)
"""What an identity connection may pass without learning anything: padding, thinning, dropout."""
BY_CHANNEL = NORMALIZATIONS | ACTIVATION_LAYERS | ACTIVATION_OPS | PLAIN


def block_beginnings(graph: Graph) -> set[Node]:
    """The first convolutions of the residual and dense blocks that follow an identity connection.

    An identity connection leads a tensor, at most padded, thinned or pooled, around convolutions to
    an addition or a concatenation. Behind its two ends stand blocks: the block that it leads
    around; and a block whose own shortcut is a 1×1 convolution, if it reads what such an addition
    made. Their first convolutions read the tensor itself, or what normalisations and activations
    make of it.

    Args:
        graph: The network.

    Returns:
        Their nodes; empty for a network without identity connections.
    """
    upstream = _upstream(graph)
    behind: set[Value] = set()
    found: set[Node] = set()
    for node in graph.nodes:
        if kind(node.operation) in BY_CHANNEL and node.inputs and node.inputs[0] in behind:
            behind.add(node.outputs[0])
        if not _joins_channels(node):
            continue
        around = _first_of(node, _identities, upstream)
        if around:
            behind.add(node.outputs[0])
        projected = _first_of(node, _projections, upstream, behind)
        found |= around | projected
    return found


def _upstream(graph: Graph) -> dict[Value, int]:
    """For each value the nodes that it depends on, as the bits of a number."""
    bits: dict[Value, int] = dict.fromkeys(graph.inputs, 0)
    for node in graph.nodes:
        before = 1 << node.index
        for value in node.inputs:
            before |= bits[value]
        bits.update(dict.fromkeys(node.outputs, before))
    return bits


def _joins_channels(node: Node) -> bool:
    name = kind(node.operation)
    if len(set(node.inputs)) < 2:
        return False
    if name in CONCATENATES:
        rank = len(node.outputs[0].shape)
        return node.operation.axis in (-1, rank - 1)
    return name in ADDS


def _first_of(join: Node, shortcuts, upstream, origins: set[Value] | None = None) -> set[Node]:
    """The first convolutions of the branches that the shortcuts of a join lead around."""
    found: set[Node] = set()
    for value in join.inputs:
        others = 0
        for other in join.inputs:
            others |= upstream[other] if other is not value else 0
        for origin, passed in shortcuts(join, value):
            if origins is None or origin in origins:
                firsts = _readers_by_channel(origin) - {passed}
                found |= {node for node in firsts if others >> node.index & 1}
    return found


def _identities(join: Node, value: Value) -> Iterator[tuple[Value, None]]:
    """The values that reach a join unchanged, from the join backwards."""
    yield value, None
    for before in _before(join, value):
        yield before, None


def _projections(join: Node, value: Value) -> Iterator[tuple[Value, Node]]:
    """The values that reach an addition by one 1×1 convolution, and that convolution."""
    if kind(join.operation) not in ADDS:
        return
    node = value.producer
    while node is not None and kind(node.operation) in NORMALIZATIONS | PLAIN:
        node = node.inputs[0].producer if node.inputs else None
    if node is None or kind(node.operation) not in kinds.CONVOLUTIONS:
        return
    if set(node.operation.kernel_size) == {1}:
        for origin, _ in _identities(join, node.inputs[0]):
            yield origin, node


def _before(join: Node, value: Value) -> Iterator[Value]:
    node = value.producer
    while node is not None and len(node.inputs) == 1 and _is_plain(join, node):
        yield node.inputs[0]
        node = node.inputs[0].producer


def _is_plain(join: Node, node: Node) -> bool:
    name = kind(node.operation)
    if name in POOLS:
        return kind(join.operation) in ADDS or set(node.operation.pool_size) == {1}
    return name in PLAIN


def _readers_by_channel(value: Value) -> set[Node]:
    """The convolutions that read a value, or what is made of it channel by channel."""
    found: set[Node] = set()
    for node in value.readers:
        name = kind(node.operation)
        if name in kinds.ALL_CONVOLUTIONS:
            found.add(node)
        elif name in BY_CHANNEL:
            found |= _readers_by_channel(node.outputs[0])
    return found
