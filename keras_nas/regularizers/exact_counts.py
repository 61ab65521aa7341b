"""How many channels each layer will read and write after surgery, inside a `tf.function`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_nas.graph import Node, Value
from keras_nas.graph.kinds import kind
from keras_nas.surgery.analysis import Plan
from keras_nas.surgery.rules import is_opaque
from keras_nas.surgery.rules.arrays import collapsed, map_operands
from keras_nas.surgery.rules.convolution import (
    DenseLike,
    GroupedConvolution,
    SeparableConvolution,
    pads,
)
from keras_nas.surgery.rules.depthwise import DepthwiseConvolution
from keras_nas.surgery.rules.elementwise import (
    Elementwise,
    PReLU,
    Rescaling,
    rescaling_columns,
)
from keras_nas.surgery.rules.evaluate import on_constants
from keras_nas.surgery.rules.gate import GateRule
from keras_nas.surgery.rules.merge import PRODUCTS, Concatenate, Merge, array_columns
from keras_nas.surgery.rules.normalization import BatchNormalization, Normalization
from keras_nas.surgery.rules.padding import Pad
from keras_nas.surgery.rules.pixel_shuffle import DepthToSpace
from keras_nas.surgery.rules.reindex import Reindex
from keras_nas.surgery.rules.spatial import ZERO_ONLY


class Known(NamedTuple):
    """What is known of a tensor's channels under the present gates.

    Attributes:
        live: bool `(channels,)`: not a constant.
        constant: float32 `(channels,)`: the constant; 0 where live.
        zero: Whether, in every case, the constants are all 0.
    """

    live: tf.Tensor
    constant: tf.Tensor
    zero: bool


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
            rule, x = self.plan.rules[node], given[0] if given else None
            if isinstance(rule, Reindex) and x is not None:
                moved = _moved(rule.move(self.plan.calls[node]), x)
                known.update(zip(node.outputs, moved, strict=True))
                continue
            found = self._behind(node, given, masks)
            if found is not None:
                known[node.outputs[0]] = found
        return known

    def _live(self, value: Value) -> Known | None:
        channels = self.plan.channels[value]
        if channels is None:
            return None
        return Known(tf.ones(channels.count, tf.bool), tf.zeros(channels.count), True)

    def _behind(self, node, given, masks) -> Known | None:
        rule, call = self.plan.rules[node], self.plan.calls[node]
        x = given[0] if given else None
        if x is None:
            return None
        if isinstance(rule, GateRule):
            return _gated(x, masks[node.operation_name]) if rule._follows(call) else None
        if isinstance(rule, DenseLike):
            return None if rule.mixes(call) else _behind_dense(rule, call, x)
        if isinstance(rule, DepthwiseConvolution):
            return _behind_depthwise(rule, call, x)
        if isinstance(rule, Merge):
            return _behind_merge(node, given)
        if isinstance(rule, Concatenate):
            columns = [
                column if isinstance(column, Known) else _of_array(column)
                for column in rule.columns(call, given)
            ]
            return _behind_concatenate(rule._along_channels(call), columns)
        if isinstance(rule, Rescaling):
            return _behind_rescaling(call, x)
        if isinstance(rule, Normalization):
            return _behind_normalization(rule, call, x)
        if isinstance(rule, (Elementwise, BatchNormalization)):
            return _behind_function(rule, node, x)
        if isinstance(rule, PReLU):
            return _behind_prelu(node.operation, x)
        if isinstance(rule, Pad):
            return _behind_pad(rule, call, x)
        if isinstance(rule, DepthToSpace):
            return _behind_pixel_shuffle(node.operation.block_size**2, x)
        return None if is_opaque(rule) else _behind_spatial(node, x)

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
        if is_opaque(rule) or (isinstance(rule, GateRule) and not rule._follows(call)):
            return everything, tf.ones_like(mask)
        if isinstance(rule, GroupedConvolution):
            return _need_of_groups(rule, call, given[0], mask)
        if isinstance(rule, DenseLike):
            writes = tf.ones_like(mask) if rule.mixes(call) else mask
            return [~_vanishing(rule, call, given[0])], writes
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


def _known(live: tf.Tensor, constant: tf.Tensor, zero: bool = False) -> Known:
    return Known(live, tf.where(live, 0.0, tf.cast(constant, tf.float32)), zero)


def _of_array(column: np.ndarray) -> Known:
    """What is known of an array's channels, from `by_channel`."""
    constant = np.nan_to_num(column).astype("float32")
    return Known(tf.constant(np.isnan(column)), tf.constant(constant), not constant.any())


def _moved(move, x: Known) -> list[Known]:
    return [
        Known(tf.gather(x.live, target.origin), tf.gather(x.constant, target.origin), x.zero)
        for target in move.targets
    ]


def _hits(mask: tf.Tensor, origin: np.ndarray, count: int) -> tf.Tensor:
    """The channels that the entries of `mask` come from: bool `(count,)`."""
    return tf.math.unsorted_segment_max(tf.cast(mask, tf.int32), origin, count) > 0


def _gated(x: Known, mask: tf.Tensor) -> Known:
    return Known(x.live & mask, x.constant * tf.cast(mask, tf.float32), x.zero)


def _vanishing(rule, call, x: Known) -> tf.Tensor:
    """The input channels that vanish into the bias."""
    if x.zero or rule.folds_any_constant(call):
        return ~x.live
    return ~x.live & (x.constant == 0)


def _behind_dense(rule, call, x: Known) -> Known:
    layer = call.layer
    width = call.outputs[0].count
    vanishing = _vanishing(rule, call, x)
    if isinstance(rule, GroupedConvolution):
        dead = tf.reduce_all(tf.reshape(vanishing, [layer.groups, -1]), axis=1)
        live = tf.repeat(~dead, width // layer.groups)
    else:
        live = tf.fill([width], tf.reduce_any(~vanishing))
    bias = tf.cast(layer.bias, tf.float32) if layer.use_bias else tf.zeros(width)
    separable = isinstance(rule, SeparableConvolution)
    if not x.zero and not separable and rule.folds_any_constant(call):
        bias += _constant_sum(rule, layer, tf.where(vanishing, x.constant, 0.0))
    elif not layer.use_bias and _keeps_zero(layer.activation):
        return Known(live, tf.zeros(width), True)
    return _known(live, layer.activation(bias))


def _constant_sum(rule, layer, values: tf.Tensor) -> tf.Tensor:
    """What constant inputs add to the bias: `(outputs,)`."""
    kernel = tf.cast(layer.kernel, tf.float32)
    sums = tf.reduce_sum(kernel, axis=list(range(len(kernel.shape) - 2)))
    if isinstance(rule, GroupedConvolution):
        sums = tf.reshape(sums, [sums.shape[0], layer.groups, -1])
        by_group = tf.reshape(values, [layer.groups, -1])
        return tf.reshape(tf.einsum("gi,igo->go", by_group, sums), [-1])
    return tf.linalg.matvec(sums, values, transpose_a=True)


def _keeps_zero(activation: Any) -> bool:
    with tf.init_scope():
        return bool(np.all(np.asarray(activation(tf.constant([0.0]))) == 0))


def _at_zero(node) -> np.ndarray:
    """What the operation makes of zeros, a number a channel; NaN where that is none."""
    zeros = {value: np.zeros(value.shape[-1]) for value in node.inputs}
    with tf.init_scope():
        return on_constants(node, zeros)


def _behind_depthwise(rule, call, x: Known) -> Known:
    layer, depth = call.layer, call.layer.depth_multiplier
    width = call.outputs[0].count
    bias = tf.cast(layer.bias, tf.float32) if layer.use_bias else tf.zeros(width)
    if x.zero and not layer.use_bias and _keeps_zero(layer.activation):
        return Known(tf.repeat(x.live, depth), tf.zeros(width), True)
    live = x.live
    if pads(layer, call.node.inputs[0].shape):
        live |= x.constant != 0
    elif not x.zero:
        kernel = tf.reshape(tf.cast(layer.kernel, tf.float32), [-1, x.live.shape[0], depth])
        bias += tf.reshape(tf.reduce_sum(kernel, axis=0) * x.constant[:, None], [-1])
    return _known(tf.repeat(live, depth), layer.activation(bias))


def _behind_merge(node, given: list[Known]) -> Known:
    width = node.outputs[0].channels
    live = tf.reduce_any([tf.broadcast_to(k.live, [width]) for k in given], axis=0)
    if all(k.zero for k in given):
        made = _of_array(np.broadcast_to(_at_zero(node), (width,)))
    else:
        made = _apply(node, given, width)
    live, constant, zero = live | made.live, made.constant, made.zero
    if kind(node.operation) in PRODUCTS:
        nothing = [tf.broadcast_to(~k.live & (k.constant == 0), [width]) for k in given]
        nothing += [tf.constant(column == 0) for column in array_columns(node)]
        nothing = tf.reduce_any(nothing, axis=0)
        live &= ~nothing
        constant = tf.where(nothing, 0.0, tf.cast(constant, tf.float32))
    return _known(live, constant, zero)


def _apply(node, given: list[Known], width: int) -> Known:
    """The operation itself, on the constants; live where it is not the same everywhere."""
    vectors = iter(given)

    def stand_in(value: Value):
        constant = tf.cast(next(vectors).constant, value.dtype)
        return tf.reshape(constant, (1,) * (len(value.shape) - 1) + (-1,))

    args, kwargs = map_operands((node.args, node.kwargs), stand_in, collapsed)
    rows = tf.cast(tf.reshape(node.operation(*args, **kwargs), [-1, width]), tf.float32)
    even = tf.math.is_finite(rows[0]) & tf.reduce_all(rows == rows[0], axis=0)
    return _known(~even, rows[0])


def _behind_concatenate(along_channels: bool, given: list[Known]) -> Known:
    zero = all(k.zero for k in given)
    if along_channels:
        return Known(
            tf.concat([k.live for k in given], 0), tf.concat([k.constant for k in given], 0), zero
        )
    live = tf.reduce_any([k.live | (k.constant != given[0].constant) for k in given], axis=0)
    return _known(live, given[0].constant, zero)


def _behind_function(rule, node, x: Known) -> Known:
    """Behind what computes f(channel) of each channel alone: f of the constants."""
    if isinstance(rule, BatchNormalization):
        layer = node.operation
        scale = tf.math.rsqrt(tf.cast(layer.moving_variance, tf.float32) + layer.epsilon)
        if layer.scale:
            scale *= tf.cast(layer.gamma, tf.float32)
        shift = -tf.cast(layer.moving_mean, tf.float32) * scale
        if layer.center:
            shift += tf.cast(layer.beta, tf.float32)
        return _known(x.live, x.constant * scale + shift)
    if x.zero:
        made = _of_array(np.broadcast_to(_at_zero(node), x.live.shape))
    else:
        made = _apply(node, [x], x.live.shape[0])
    return _known(x.live | made.live, made.constant, made.zero)


def _behind_rescaling(call, x: Known) -> Known:
    scale, offset = rescaling_columns(call)
    live = x.live | np.isnan(scale + offset)
    scale, offset = np.nan_to_num(scale), np.nan_to_num(offset)
    zero = x.zero and not offset.any()
    return _known(live, x.constant * scale.astype("float32") + offset.astype("float32"), zero)


def _behind_normalization(rule, call, x: Known) -> Known:
    scale, shift = (tf.constant(values, tf.float32) for values in rule.affine(call))
    results = x.constant[:, None] * scale + shift
    differ = tf.reduce_any(results != results[:, :1], axis=1)
    return _known(x.live | differ, results[:, 0])


def _behind_prelu(layer, x: Known) -> Known:
    if x.zero:
        return x
    alpha = tf.reshape(tf.cast(layer.alpha, tf.float32), [-1, layer.alpha.shape[-1]])
    uneven = tf.reduce_max(alpha, axis=0) != tf.reduce_min(alpha, axis=0)
    negative = x.constant < 0
    return _known(
        x.live | (uneven & negative), tf.where(negative, alpha[0] * x.constant, x.constant)
    )


def _behind_spatial(node, x: Known) -> Known:
    name = kind(node.operation)
    if x.zero or not (name in ZERO_ONLY or name == "ops.Sum"):
        return x
    return _known(x.live | (x.constant != 0), x.constant, True)


def _behind_pad(rule, call, x: Known) -> Known:
    spread = any(before or after for before, after in rule._widths(call)[1:-1])
    live = x.live if x.zero or not spread else x.live | (x.constant != 0)
    beside = [rule._beside(call)]
    return _known(tf.pad(live, beside), tf.pad(x.constant, beside), x.zero)


def _behind_pixel_shuffle(parts: int, x: Known) -> Known:
    live, constant = tf.reshape(x.live, [parts, -1]), tf.reshape(x.constant, [parts, -1])
    differ = tf.reduce_any(constant != constant[0], axis=0)
    return _known(tf.reduce_any(live, axis=0) | differ, constant[0], x.zero)


def _need_of_groups(rule, call, x: Known, mask: tf.Tensor):
    groups = call.layer.groups
    need = tf.reshape(tf.ones_like(mask) if rule.mixes(call) else mask, [groups, -1])
    alive = tf.reduce_any(need, axis=1)
    reads = tf.reshape(~_vanishing(rule, call, x), [groups, -1]) & alive[:, None]
    return [tf.reshape(_level(reads, alive), [-1])], tf.reshape(_level(need, alive), [-1])


def _level(need: tf.Tensor, alive: tf.Tensor) -> tf.Tensor:
    """Fills the alive rows (groups) up to equally many channels, from the front."""
    counts = tf.reduce_sum(tf.cast(need, tf.int32), axis=1)
    lacking = tf.maximum(tf.reduce_max(counts), 1) - counts
    place = tf.cumsum(tf.cast(~need, tf.int32), axis=1)
    return (need | (place <= lacking[:, None])) & alive[:, None]
