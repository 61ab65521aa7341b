"""How many channels each layer reads and writes, as FGNAS' regularizer differentiates them."""

from __future__ import annotations

import tensorflow as tf

from keras_nas.graph import Graph, Node, Value
from keras_nas.regularizers.amounts import Amounts
from keras_nas.regularizers.prices import Price
from keras_nas.surgery.plan import Plan
from keras_nas.surgery.rules.relaxed_vectors import Clip, Factors, Vector, ones, times, union


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
        prices: The nodes to count, with what counts of each.
    """

    def __init__(self, plan: Plan, prices: dict[Node, Price]):
        self.plan = plan
        self.graph: Graph = plan.graph
        self.prices = prices

    def __call__(self, factors: Factors, h: Clip = binary) -> dict[Node, Amounts]:
        """What each counted node reads and writes, float32 `(channels,)`: γ_in and γ_out are sums.

        Args:
            factors: G by the gate's name in the graph, float32 `(channels,)`.
            h: H of Eq. (10).
        """
        alive = self._forward(factors, h)
        asked = self._backward(factors, h)
        written: dict[tuple[int, int], Vector] = {}
        counts = {}
        for node in self.prices:
            a, d = alive[node.outputs[0]], asked[node.outputs[0]]
            if (id(a), id(d)) not in written:
                written[id(a), id(d)] = times(a, d)
            counts[node] = Amounts(
                alive[node.inputs[0]], written[id(a), id(d)], groups=self.prices[node].groups
            )
        return counts

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
