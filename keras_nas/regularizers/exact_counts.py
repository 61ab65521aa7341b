"""What each layer will read and write after surgery, inside a `tf.function`."""

from __future__ import annotations

import functools

import numpy as np

from keras_nas.graph import Node, Value
from keras_nas.regularizers.amounts import Amounts
from keras_nas.regularizers.prices import Price
from keras_nas.surgery.plan import Plan
from keras_nas.surgery.rules.known_values import Known, Mask, Masks, both, either, is_filled, some


class ExactCounts:
    """The analysis of `keras_nas.surgery` with tensors: constants forward, need backward.

    It walks the graph; what a call does to channels its rule says (`Rule.known`, `Rule.needs`).
    It gives what `surgery.make_plan(..., align="pad")` finds under the same masks, without leaving
    the `tf.function`. What no gate decides is NumPy, and leaves nothing in the function's graph. No
    gradient flows through it. A layer with weights must be called only once.

    Args:
        plan: The analysis of the gated graph with every gate open.
        prices: The nodes to count, with what counts of each.
    """

    def __init__(self, plan: Plan, prices: dict[Node, Price]):
        self.plan = plan
        self.prices = prices

    def __call__(self, masks: Masks) -> dict[Node, Amounts]:
        """The counts of the priced nodes under `masks`, bool `(channels,)` by the gate's name."""
        return self._backward(self._forward(masks))

    def _forward(self, masks: Masks) -> dict[Value, Known | None]:
        known = {value: self._live(value) for value in self.plan.graph.inputs}
        for node in self.plan.graph.nodes:
            known.update((value, self._live(value)) for value in node.outputs)
            given = [known[value] for value in node.inputs]
            found = self.plan.rules[node].known(self.plan.calls[node], given, masks)
            if found is not None:
                known.update(zip(node.outputs, found, strict=True))
        return known

    def _live(self, value: Value) -> Known | None:
        channels = self.plan.channels[value]
        if channels is None:
            return None
        return Known(np.ones(channels.count, bool), np.zeros(channels.count, "float32"), True)

    def _backward(self, known: dict[Value, Known | None]) -> dict[Node, Amounts]:
        graph = self.plan.graph
        wanted = {value: self._mask(value, False) for value in graph.values}
        for value in graph.outputs:
            wanted[value] = self._mask(value, True)
        counts: dict[Node, Amounts] = {}
        for node in reversed(graph.nodes):
            rule, call = self.plan.rules[node], self.plan.calls[node]
            given = [known[value] for value in node.inputs]
            produced = [self._produced(value, wanted, known) for value in node.outputs]
            alive = _Alive(produced)
            reads, written = rule.needs(call, given, produced)
            reads, written = [alive.part(mask) for mask in reads], alive.part(written)
            for value, mask in zip(node.inputs, reads, strict=True):
                wanted[value] = either(wanted[value], mask)
            for value in node.masks:
                wanted[value] = either(wanted[value], alive.part(self._mask(value, True)))
            price = self.prices.get(node)
            if price is not None:
                counts[node] = Amounts(
                    reads[0],
                    written,
                    alive.any if price.fixed else np.True_,
                    alive.any & rule.gains_bias(call, given, reads)
                    if price.new_bias
                    else np.False_,
                    rule.groups_left(call, written),
                )
        return counts

    def _mask(self, value: Value, filled: bool) -> Mask:
        channels = self.plan.channels[value]
        return np.full(1 if channels is None else channels.count, filled)

    def _produced(self, value, wanted, known) -> Mask:
        return wanted[value] if known[value] is None else both(wanted[value], known[value].live)


class _Alive:
    """Whether a node is built: whether any of the channels that it has to make is."""

    def __init__(self, produced: list[Mask]):
        self._produced = produced

    @functools.cached_property
    def any(self) -> Mask:
        return functools.reduce(either, [some(mask) for mask in self._produced])

    def part(self, mask: Mask) -> Mask:
        """The mask if the node is built, else nothing."""
        alone = len(self._produced) == 1 and mask is self._produced[0]
        return mask if alone or is_filled(mask, False) else both(mask, self.any)
