"""Which outputs of a gated network depend on its inputs, by the ways that its channels leave."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from keras_nas.graph import Graph, Node, Value
from keras_nas.layers import Gate
from keras_nas.surgery.analysis import forward
from keras_nas.surgery.plan import Plan
from keras_nas.surgery.rules.base import Rule

Masks = Mapping[str, np.ndarray]
"""The channels that each gate keeps, bool by the gate's name."""


class Dependence:
    """Asks whether masks leave each output a way back to an input.

    An output that is not constant need not depend on the input: behind a closed gate, a shift and
    a convolution with a border of zeros make an image that is the same for every input. So the
    question is whether a way leads back, channel by channel, from the output through what is read
    and not constant, to an input of the model.

    Args:
        graph: The gated graph.
        gates: The gates whose masks are asked about, by name; the others are open.

    Attributes:
        possible: For each output whether it depends on an input with every gate open, bool.
    """

    def __init__(self, graph: Graph, gates: Mapping[str, Gate]):
        self._graph = graph
        self._gates = {
            name: nodes[0].operation
            for name, nodes in graph.calls().items()
            if isinstance(nodes[0].operation, Gate)
        }
        self._asked = set(gates)
        self.possible = self.of({})

    def of(self, masks: Masks) -> np.ndarray:
        """For each output whether it depends on an input; gates that `masks` lacks are open."""
        plan = forward(self._graph, {name: self._scale(name, masks) for name in self._gates})
        return np.array([_reaches_input(plan, value) for value in self._graph.outputs])

    def holds(self, masks: Masks) -> bool:
        """Whether every output depends on an input that can."""
        return bool((self.of(masks) >= self.possible).all())

    def _scale(self, name: str, masks: Masks) -> np.ndarray:
        gate = self._gates[name]
        mask = masks.get(gate.name) if gate.name in self._asked else None
        mask = np.ones(gate.channels, bool) if mask is None else mask
        scale = np.asarray(gate.scale_vector(mask), "float64")
        return np.where(mask & (scale == 0), 1.0, scale)


def _reaches_input(plan: Plan, output: Value) -> bool:
    """Walks back from an output over the channels that are read and not constant.

    A value stands in `needed` with the channels that the output hears, bool; None where it has no
    channel axis.
    """
    needed: dict[Value, np.ndarray | None] = {}
    _need(plan, needed, output, None)
    for node in reversed(plan.graph.nodes):
        if any(value in needed for value in node.outputs):
            for value, mask in zip(node.inputs, _reads(plan, node, needed), strict=True):
                _need(plan, needed, value, mask)
    return any(value in needed for value in plan.graph.inputs)


def _reads(plan: Plan, node: Node, needed) -> list[np.ndarray | None]:
    """The channels of each input that the needed channels of a node's outputs are made of."""
    call = plan.calls[node]
    if any(plan.channels[value] is None for value in node.outputs):
        return Rule.wants(plan.rules[node], call, [])
    produced = [
        needed.get(value, np.zeros(channels.count, bool))
        for value, channels in zip(node.outputs, call.outputs, strict=True)
        if channels is not None
    ]
    return plan.rules[node].wants(call, produced)


def _need(plan: Plan, needed, value: Value, mask: np.ndarray | None) -> None:
    channels = plan.channels[value]
    if channels is None:
        needed[value] = None
        return
    live = channels.live if mask is None else channels.live & mask
    if live.any():
        needed[value] = live | needed.get(value, np.zeros(channels.count, bool))
