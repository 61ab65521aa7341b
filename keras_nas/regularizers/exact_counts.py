"""How many channels each layer will read and write after surgery, inside a `tf.function`."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from keras_nas.graph import Node, Value
from keras_nas.surgery.analysis import Plan
from keras_nas.surgery.rules.known import Known, Masks


@dataclasses.dataclass(frozen=True)
class Count:
    """What a node reads and writes.

    Attributes:
        read, written: float64 scalars, channels of the first input and of the first output.
        alive: bool scalar, whether it is built at all.
        new_bias: bool scalar, whether constants make a bias that the layer had not.
        groups: float64 scalar, the groups that are left.
    """

    read: tf.Tensor
    written: tf.Tensor
    alive: tf.Tensor
    new_bias: tf.Tensor
    groups: tf.Tensor


class ExactCounts:
    """The analysis of `keras_nas.surgery` with tensors: constants forward, need backward.

    It walks the graph; what a call does to channels its rule says (`Rule.known`, `Rule.needs`).
    It gives what `surgery.make_plan(..., align="pad")` finds under the same masks, without leaving
    the `tf.function`. No gradient flows through it. A layer with weights must be called only once.

    Args:
        plan: The analysis of the gated graph with every gate open.
    """

    def __init__(self, plan: Plan):
        self.plan = plan

    def __call__(self, masks: Masks) -> dict[Node, Count]:
        """The counts of every node under `masks`, bool `(channels,)` by the gate's name."""
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
        return Known(tf.ones(channels.count, tf.bool), tf.zeros(channels.count), True)

    def _backward(self, known: dict[Value, Known | None]) -> dict[Node, Count]:
        graph = self.plan.graph
        wanted = {value: self._mask(value, False) for value in graph.values}
        for value in graph.outputs:
            wanted[value] = self._mask(value, True)
        counts: dict[Node, Count] = {}
        for node in reversed(graph.nodes):
            rule, call = self.plan.rules[node], self.plan.calls[node]
            given = [known[value] for value in node.inputs]
            produced = [self._produced(value, wanted, known) for value in node.outputs]
            alive = tf.reduce_any([tf.reduce_any(mask) for mask in produced])
            reads, written = rule.needs(call, given, produced)
            reads = [mask & alive for mask in reads]
            written = written & alive
            for value, mask in zip(node.inputs, reads, strict=True):
                wanted[value] |= mask
            for value in node.masks:
                wanted[value] |= alive
            counts[node] = Count(
                _total(reads[0]) if reads else tf.constant(0.0, tf.float64),
                _total(written),
                alive,
                alive & rule.gains_bias(call, given, reads),
                rule.groups_left(call, written),
            )
        return counts

    def _mask(self, value: Value, filled: bool) -> tf.Tensor:
        channels = self.plan.channels[value]
        return tf.fill([1 if channels is None else channels.count], filled)

    def _produced(self, value, wanted, known) -> tf.Tensor:
        return wanted[value] if known[value] is None else wanted[value] & known[value].live


def _total(mask: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(mask, tf.float64))
