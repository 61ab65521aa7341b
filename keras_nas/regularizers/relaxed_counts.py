"""How many channels each layer reads and writes, as FGNAS' regularizer differentiates them."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from keras_nas.graph import Graph, Node, Value
from keras_nas.surgery.analysis import Plan
from keras_nas.surgery.rules.relaxed import Clip, Factors, Vector, ones, times, union


def binary(total: tf.Tensor) -> tf.Tensor:
    """h of Eq. (10): 1 where not 0, with the gradient of the identity."""
    return total + tf.stop_gradient(tf.cast(total != 0, total.dtype) - total)


class RelaxedCounts:
    """γ_in and γ_out of Eq. (9) and (10) for any functional graph.

    A channel is *alive* (a) as far as the gates before it are open: 1 behind a convolution, G
    behind a gate, h(Σ a) behind a sum (a skip connection), side by side behind a concatenation,
    unchanged behind what works on each channel alone. It is *asked for* (d) as far as the gates
    behind it are open: 1 before a convolution, G · d before a gate, h(Σ d) over several readers. A
    convolution reads γ_in = ‖a‖₁ channels of its input and writes γ_out = ‖d‖₁ of its output, which
    are the paper's Eq. (10) and (9); a layer on each channel alone has ‖a · d‖₁.

    Worked example: conv1 → gate1 → conv2 → gate2 → conv3 with gate1 = (1, 0), gate2 = (1, 1):
    conv2 has γ_in = 1 and γ_out = 2.

    Args:
        plan: The analysis of the gated graph with every gate open.
        nodes: The nodes to count.
    """

    def __init__(self, plan: Plan, nodes: Sequence[Node]):
        self.plan = plan
        self.graph: Graph = plan.graph
        self.nodes = list(nodes)

    def __call__(
        self, factors: Factors, h: Clip = binary
    ) -> dict[Node, tuple[tf.Tensor, tf.Tensor]]:
        """γ_in and γ_out of each counted node, float64 scalars.

        Args:
            factors: G by the gate's name in the graph, float32 `(channels,)`.
            h: h of Eq. (10).
        """
        alive = self._forward(factors, h)
        asked = self._backward(factors, h)
        return {node: self._count(node, alive, asked) for node in self.nodes}

    def _count(self, node, alive, asked):
        source, target = node.inputs[0], node.outputs[0]
        written = _total(times(alive[target], asked[target]))
        if self.plan.rules[node].reads_all_inputs:
            return _total(alive[source]), written
        width_in, width_out = (len(self._ones(value)) for value in (source, target))
        return written * float(width_in) / float(width_out), written

    def _ones(self, value: Value) -> Vector:
        return ones(self.plan.channels[value])

    def _forward(self, factors: Factors, h: Clip) -> dict[Value, Vector]:
        alive: dict[Value, Vector] = {value: self._ones(value) for value in self.graph.inputs}
        for node in self.graph.nodes:
            given = [alive[value] for value in node.inputs]
            found = self.plan.rules[node].alive(self.plan.calls[node], given, factors, h)
            alive.update(zip(node.outputs, found, strict=True))
        return alive

    def _backward(self, factors: Factors, h: Clip) -> dict[Value, Vector]:
        demands: dict[Value, list[Vector]] = {value: [] for value in self.graph.values}
        asked: dict[Value, Vector] = {}
        for value in self.graph.outputs:
            demands[value].append(self._ones(value))
        for node in reversed(self.graph.nodes):
            for value in node.outputs:
                parts = demands[value]
                asked[value] = union(parts, h) if parts else 0 * self._ones(value)
            given = [asked[value] for value in node.outputs]
            parts = self.plan.rules[node].asked(self.plan.calls[node], given, factors, h)
            for value, part in zip(node.inputs, parts, strict=True):
                demands[value].append(part)
        return asked


def _total(vector: Vector) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(vector, tf.float64))
