"""How many channels each layer will read and write after surgery, inside a `tf.function`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from keras_nas.graph import Node, Value
from keras_nas.regularizers.known_channels import Known, behind, vanishing
from keras_nas.surgery.analysis import Plan
from keras_nas.surgery.rules.base import SameChannels
from keras_nas.surgery.rules.convolution import (
    DenseLike,
    GroupedConvolution,
    SeparableConvolution,
)
from keras_nas.surgery.rules.depthwise import DepthwiseConvolution
from keras_nas.surgery.rules.gate import GateRule
from keras_nas.surgery.rules.merge import Concatenate, Merge
from keras_nas.surgery.rules.padding import Pad
from keras_nas.surgery.rules.pixel_shuffle import DepthToSpace
from keras_nas.surgery.rules.reindex import Reindex

_BY_CHANNEL = (SameChannels, Reindex, Pad, DepthToSpace)
_WITH_WEIGHTS = (DenseLike, DepthwiseConvolution)


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

    It gives what `surgery.make_plan(..., align="pad")` finds under the same masks, without leaving
    the `tf.function`. No gradient flows through it. A layer with weights must be called only once.

    Args:
        plan: The analysis of the gated graph with every gate open.
    """

    def __init__(self, plan: Plan):
        self.plan = plan

    def __call__(self, masks: Mapping[str, tf.Tensor]) -> dict[Node, Count]:
        """The counts of every node under `masks`, bool `(channels,)` by the gate's name."""
        known = self._forward(masks)
        return self._backward(known)

    def _forward(self, masks) -> dict[Value, Known | None]:
        known = {value: self._live(value) for value in self.plan.graph.inputs}
        for node in self.plan.graph.nodes:
            given = [known[value] for value in node.inputs]
            known.update((value, self._live(value)) for value in node.outputs)
            found = behind(self.plan.rules[node], self.plan.calls[node], given, masks)
            if found is not None:
                known.update(zip(node.outputs, found, strict=True))
        return known

    def _live(self, value: Value) -> Known | None:
        channels = self.plan.channels[value]
        if channels is None:
            return None
        return Known(tf.ones(channels.count, tf.bool), tf.zeros(channels.count), True)

    def _backward(self, known) -> dict[Node, Count]:
        graph = self.plan.graph
        wanted = {value: self._mask(value, False) for value in graph.values}
        for value in graph.outputs:
            wanted[value] = self._mask(value, True)
        counts: dict[Node, Count] = {}
        for node in reversed(graph.nodes):
            produced = [self._produced(value, wanted, known) for value in node.outputs]
            alive = tf.reduce_any([tf.reduce_any(mask) for mask in produced])
            reads, writes = self._need(node, produced, known)
            reads = [mask & alive for mask in reads]
            writes = writes & alive
            for value, mask in zip(node.inputs, reads, strict=True):
                wanted[value] |= mask
            for value in node.masks:
                wanted[value] |= alive
            counts[node] = self._count(node, reads, writes, alive, known)
        return counts

    def _mask(self, value: Value, filled: bool) -> tf.Tensor:
        channels = self.plan.channels[value]
        return tf.fill([1 if channels is None else channels.count], filled)

    def _produced(self, value, wanted, known) -> tf.Tensor:
        return wanted[value] if known[value] is None else wanted[value] & known[value].live

    def _need(self, node, produced, known):
        """The channels read of each input and written of the first output, if the node lives."""
        rule, call = self.plan.rules[node], self.plan.calls[node]
        given = [known[value] for value in node.inputs]
        everything = [self._mask(value, True) for value in node.inputs]
        if not produced:
            return everything, tf.ones(1, tf.bool)
        mask = produced[0]
        known_here = isinstance(rule, (Merge, Concatenate, *_BY_CHANNEL, *_WITH_WEIGHTS))
        if not known_here or (isinstance(rule, GateRule) and not rule._follows(call)):
            return everything, tf.ones_like(mask)
        if isinstance(rule, GroupedConvolution):
            return _need_of_groups(rule, call, given[0], mask)
        if isinstance(rule, DenseLike):
            writes = tf.ones_like(mask) if rule.mixes(call) else mask
            reads = ~vanishing(rule, call, given[0])
            first = tf.range(reads.shape[0]) == 0
            return [reads | (first & ~tf.reduce_any(reads))], writes
        if isinstance(rule, DepthwiseConvolution):
            depth = node.operation.depth_multiplier
            reads = tf.reduce_any(tf.reshape(mask, [-1, depth]), axis=1)
            return [reads], tf.repeat(reads, depth)
        if isinstance(rule, Concatenate) and rule._along_channels(call):
            return rule.wants(call, [mask]), mask
        if isinstance(rule, Reindex):
            move = rule.move(call)
            reads = tf.reduce_any(
                [
                    _hits(made, target.origin, move.count)
                    for made, target in zip(produced, move.targets, strict=True)
                ],
                axis=0,
            )
            return [reads], mask if move.exact else tf.gather(reads, move.targets[0].origin)
        if isinstance(rule, Pad):
            before, after = rule._beside(call)
            reads = mask[before : before + given[0].live.shape[0]]
            return [reads], tf.pad(reads, [[before, after]])
        if isinstance(rule, DepthToSpace):
            return [tf.tile(mask, [node.operation.block_size**2])], mask
        count = mask.shape[0]
        reads = [mask if k.live.shape[0] == count else tf.reduce_any(mask)[None] for k in given]
        return reads, mask

    def _count(self, node, reads, writes, alive, known) -> Count:
        rule, call = self.plan.rules[node], self.plan.calls[node]
        new_bias, groups = tf.constant(False), tf.constant(1.0, tf.float64)
        if isinstance(rule, DenseLike):
            x = known[node.inputs[0]]
            makes_bias = not isinstance(rule, SeparableConvolution) and not x.zero
            if makes_bias and not node.operation.use_bias:
                new_bias = alive & tf.reduce_any((x.constant != 0) & ~reads[0])
        if isinstance(rule, GroupedConvolution):
            left = tf.reduce_any(tf.reshape(writes, [call.layer.groups, -1]), axis=1)
            groups = tf.maximum(tf.reduce_sum(tf.cast(left, tf.float64)), 1.0)
        read = _total(reads[0]) if reads else tf.constant(0.0, tf.float64)
        return Count(read, _total(writes), alive, new_bias, groups)


def _total(mask: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(mask, tf.float64))


def _hits(mask: tf.Tensor, origin: np.ndarray, count: int) -> tf.Tensor:
    """The channels that the entries of `mask` come from: bool `(count,)`."""
    return tf.math.unsorted_segment_max(tf.cast(mask, tf.int32), origin, count) > 0


def _need_of_groups(rule, call, x: Known, mask: tf.Tensor):
    groups = call.layer.groups
    need = tf.reshape(tf.ones_like(mask) if rule.mixes(call) else mask, [groups, -1])
    alive = tf.reduce_any(need, axis=1)
    reads = tf.reshape(~vanishing(rule, call, x), [groups, -1]) & alive[:, None]
    return [tf.reshape(_level(reads, alive), [-1])], tf.reshape(_level(need, alive), [-1])


def _level(need: tf.Tensor, alive: tf.Tensor) -> tf.Tensor:
    """Fills the alive rows (groups) up to equally many channels, from the front."""
    counts = tf.reduce_sum(tf.cast(need, tf.int32), axis=1)
    lacking = tf.maximum(tf.reduce_max(counts), 1) - counts
    place = tf.cumsum(tf.cast(~need, tf.int32), axis=1)
    return (need | (place <= lacking[:, None])) & alive[:, None]
