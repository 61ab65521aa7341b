"""Moving gates' factors into the weights of the operations around them, where that is exact."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from keras_nas.graph import Graph, Node, Value
from keras_nas.layers import Gate
from keras_nas.surgery.channels import Channels
from keras_nas.surgery.rules.base import Call, Rule


@dataclass(eq=False)
class Attachment:
    """Who takes over the gates' factors, each an array with one number a channel.

    Attributes:
        after: By the node whose output they multiply: they go into its weights by output channel.
        before: By the node whose input they multiply: they go into its weights by input channel.
        left: By the gate's (or Rescaling's) own node: what it is left to do.
    """

    after: dict[Node, np.ndarray] = field(default_factory=dict)
    before: dict[Node, np.ndarray] = field(default_factory=dict)
    left: dict[Node, np.ndarray] = field(default_factory=dict)


@dataclass(eq=False)
class Layout:
    """What is known of a graph whatever its gates do.

    Attributes:
        rules: The rule of each node; the base rule where none fits.
        channels: The channel axis of each value; `None` where a tensor has none.
        calls: The nodes of each operation.
        outputs: The values that the graph ends in.
    """

    rules: dict[Node, Rule]
    channels: dict[Value, Channels | None]
    calls: dict[str, list[Node]]
    outputs: set[Value]

    def is_last(self, value: Value) -> bool:
        """Whether the value's channels lie on its last axis."""
        channels = self.channels[value]
        return channels is not None and channels.is_last(value)

    def is_called_once(self, node: Node) -> bool:
        return len(self.calls[node.operation_name]) == 1


def attach(
    graph: Graph, scales: dict[str, np.ndarray], layout: Layout, refused: set[Node]
) -> Attachment:
    """Finds, for each gate, whether an operation before or after it can take over its factors.

    One before can when it has weights by output channel, is called once, and everything between the
    two is read by nobody else and commutes with the factors: ReLU and pooling do with zeros and
    ones, and with any positive scale; tanh with zeros and ones only; sigmoid with neither. Where
    none can, scales other than zero and one go into the operations that read the gate, through
    concatenations too, if each is a convolution or Dense layer called once; zeros stay with the
    gate, as constants.

    A stock Rescaling by positive numbers, without offset, is treated as such a gate where something
    takes it whole (the 1/M of a mixed layer): it then vanishes. Else it stays what it is.

    Args:
        graph: The gated graph.
        scales: What each gate multiplies its channels by, by the gate's operation name.
        layout: The graph's rules and channel axes.
        refused: Nodes that must not take anything over.

    Returns:
        The `Attachment`.
    """
    found = Attachment()
    for node in graph.nodes:
        scale = _scale_of(node, scales, layout)
        if scale is None:
            continue
        taker = _taker(node, scale, layout)
        readers = _reading_takers(node, scale, layout, refused)
        if taker is not None and taker not in refused:
            found.after[taker] = found.after.get(taker, 1.0) * scale
            found.left[node] = np.ones_like(scale)
        elif readers:
            found.left[node] = (scale != 0).astype("float64")
            for reader, factors in readers:
                found.before[reader] = found.before.get(reader, 1.0) * factors
        elif isinstance(node.operation, Gate):
            found.left[node] = scale
    return found


def _scale_of(node: Node, scales: dict[str, np.ndarray], layout: Layout) -> np.ndarray | None:
    """What a gate, or a Rescaling that may be taken over, multiplies each channel by."""
    is_gate = isinstance(node.operation, Gate)
    scale = scales[node.operation_name] if is_gate else layout.rules[node].own_factors(Call(node))
    if scale is None:
        return None
    width = int(node.outputs[0].shape[-1] or 1)
    return np.broadcast_to(np.asarray(scale, "float64").reshape(-1), (width,))


def _reading_takers(
    node: Node, scale: np.ndarray, layout: Layout, refused
) -> list[tuple[Node, np.ndarray]]:
    """The layers that take over a node's factors other than 0, each with what multiplies its input
    channels; empty where some reader cannot.

    Between the two may stand what commutes with positive factors, such as ReLU and pooling, and
    concatenations, whose other channels are multiplied by 1.
    """
    if np.isin(scale, (0.0, 1.0)).all():
        return []
    takers: list[tuple[Node, np.ndarray]] = []
    ways = [(node.outputs[0], np.where(scale != 0, scale, 1.0))]
    while ways:
        value, factors = ways.pop()
        if value in layout.outputs or not value.readers or not layout.is_last(value):
            return []
        for reader in dict.fromkeys(value.readers):
            rule = layout.rules[reader]
            joined = rule.joined(Call(reader), value, factors)
            if rule.scales_inputs and layout.is_called_once(reader) and reader not in refused:
                takers.append((reader, factors))
            elif joined is not None:
                ways.append((reader.outputs[0], joined))
            elif not (scale == 0).any() and _commutes(reader, layout, binary=False):
                ways.append((reader.outputs[0], factors))
            else:
                return []
    return takers


def _taker(gate: Node, scale: np.ndarray, layout: Layout) -> Node | None:
    binary = bool(np.isin(scale, (0.0, 1.0)).all())
    reader, value = gate, gate.inputs[0]
    while (
        value.readers == [reader]
        and value not in layout.outputs
        and value.producer is not None
        and layout.is_last(value)
    ):
        node = value.producer
        takes = layout.rules[node].takes_factors(Call(node), binary)
        if takes and layout.is_called_once(node) and _needs_no_gamma(gate, node):
            return node
        if not _commutes(node, layout, binary):
            return None
        reader, value = node, node.inputs[0]
    return None


def _needs_no_gamma(node: Node, taker: Node) -> bool:
    """Whether the taker can hold the factors as it is: a Rescaling is not worth new weights."""
    return isinstance(node.operation, Gate) or getattr(taker.operation, "scale", True)


def _commutes(node: Node, layout: Layout, binary: bool) -> bool:
    """Whether factors by channel behind the node may as well act before it."""
    if len(node.inputs) != 1 or not layout.is_last(node.inputs[0]):
        return False
    return layout.rules[node].commutes(Call(node), binary)
