"""What surgery will do to a graph."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from keras_nas.graph import Graph, Node, Value
from keras_nas.graph.sample_shapes import sample_shape
from keras_nas.surgery.channels import Channels
from keras_nas.surgery.rules import is_opaque
from keras_nas.surgery.rules.base import Call, Rule


@dataclass(eq=False)
class Plan:
    """What surgery will do to a graph.

    Attributes:
        graph: The gated graph.
        channels: What is known of each value; `None` where a tensor has no channel axis.
        calls: The analysis of each node.
        rules: The rule of each node.
        held: For each value the channels that its new tensor holds, bool; `None`: the full tensor.
        alive: The nodes that are built.
    """

    graph: Graph
    channels: dict[Value, Channels | None]
    calls: dict[Node, Call]
    rules: dict[Node, Rule]
    held: dict[Value, np.ndarray | None]
    alive: set[Node]

    @property
    def opaque(self) -> list[Node]:
        """The nodes that keep all their channels because no rule fits them, in graph order."""
        return [node for node in self.graph.nodes if is_opaque(self.rules[node])]

    def at(self, graph: Graph) -> Plan:
        """The same plan of the same model, read at other sizes: what surgery does is the same."""
        values = dict(zip(self.graph.values, graph.values, strict=True))
        nodes = dict(zip(self.graph.nodes, graph.nodes, strict=True))
        return Plan(
            graph,
            {values[value]: channels for value, channels in self.channels.items()},
            {nodes[node]: replace(call, node=nodes[node]) for node, call in self.calls.items()},
            {nodes[node]: rule for node, rule in self.rules.items()},
            {values[value]: held for value, held in self.held.items()},
            {nodes[node] for node in self.alive},
        )

    def sample_shape(self, value: Value, width: int | None) -> tuple[int | None, ...]:
        """The shape of a value at batch 1 with so many channels; None for all that it has."""
        shape, channels = list(sample_shape(value)), self.channels[value]
        if channels is not None and width is not None:
            shape[channels.axis] = width
        return tuple(shape)
