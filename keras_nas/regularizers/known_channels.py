"""What is known of a tensor's channels under the present gates, inside a `tf.function`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_nas.graph import Value
from keras_nas.graph.activations import activation_of
from keras_nas.graph.kinds import kind
from keras_nas.surgery.rules.arrays import collapsed, map_operands
from keras_nas.surgery.rules.base import Call, Rule
from keras_nas.surgery.rules.convolution import (
    DenseLike,
    GroupedConvolution,
    SeparableConvolution,
    pads,
)
from keras_nas.surgery.rules.depthwise import DepthwiseConvolution
from keras_nas.surgery.rules.elementwise import (
    Elementwise,
    Identity,
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
from keras_nas.surgery.rules.spatial import ZERO_ONLY, Spatial, SpatialSoftmax


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


def behind(
    rule: Rule, call: Call, given: list[Known | None], masks: Mapping[str, tf.Tensor]
) -> list[Known] | None:
    """What is known of a call's outputs; `None` where all they hold is live.

    Args:
        rule, call: The call under the plan with every gate open.
        given: What is known of each input.
        masks: By gate, bool `(channels,)`.
    """
    inputs = [known for known in given if known is not None]
    if not inputs or len(inputs) < len(given):
        return None
    if isinstance(rule, Reindex):
        return _moved(rule.move(call), inputs[0])
    found = _behind(rule, call, inputs, masks)
    return None if found is None else [found]


def _behind(rule: Rule, call: Call, given: list[Known], masks) -> Known | None:
    node, x = call.node, given[0]
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
    if isinstance(rule, Normalization):
        return _behind_normalization(rule, call, x)
    if isinstance(rule, (Elementwise, BatchNormalization)):
        return _behind_function(rule, node, x)
    if isinstance(rule, Rescaling):
        return _behind_rescaling(call, x)
    if isinstance(rule, PReLU):
        return _behind_prelu(node.operation, x)
    if isinstance(rule, Pad):
        return _behind_pad(rule, call, x)
    if isinstance(rule, DepthToSpace):
        return _behind_pixel_shuffle(node.operation.block_size**2, x)
    if isinstance(rule, SpatialSoftmax):
        return _behind_softmax(rule, call, x)
    return _behind_spatial(node, x) if isinstance(rule, (Identity, Spatial)) else None


def _known(live: tf.Tensor, constant: tf.Tensor, zero: bool = False) -> Known:
    constant = tf.cast(constant, tf.float32)
    live |= ~tf.math.is_finite(constant)
    return Known(live, tf.where(live, 0.0, constant), zero)


def _of_array(column: np.ndarray) -> Known:
    """What is known of an array's channels, from `by_channel`."""
    constant = np.nan_to_num(column).astype("float32")
    return Known(tf.constant(np.isnan(column)), tf.constant(constant), not constant.any())


def _moved(move, x: Known) -> list[Known]:
    return [
        Known(tf.gather(x.live, target.origin), tf.gather(x.constant, target.origin), x.zero)
        for target in move.targets
    ]


def _gated(x: Known, mask: tf.Tensor) -> Known:
    return Known(x.live & mask, x.constant * tf.cast(mask, tf.float32), x.zero)


def vanishing(rule, call, x: Known) -> tf.Tensor:
    """The input channels that vanish into the bias."""
    if x.zero or rule.folds_any_constant(call):
        return ~x.live
    return ~x.live & (x.constant == 0)


def _behind_dense(rule, call, x: Known) -> Known:
    layer = call.layer
    width = call.outputs[0].count
    folded = vanishing(rule, call, x)
    if isinstance(rule, GroupedConvolution):
        dead = tf.reduce_all(tf.reshape(folded, [layer.groups, -1]), axis=1)
        live = tf.repeat(~dead, width // layer.groups)
    else:
        live = tf.fill([width], tf.reduce_any(~folded))
    bias = tf.cast(layer.bias, tf.float32) if layer.use_bias else tf.zeros(width)
    separable = isinstance(rule, SeparableConvolution)
    if not x.zero and not separable and rule.folds_any_constant(call):
        bias += _constant_sum(rule, layer, tf.where(folded, x.constant, 0.0))
    elif not layer.use_bias and _keeps_zero(call):
        return Known(live, tf.zeros(width), True)
    return _known(live, _activated(call, bias))


def _keeps_zero(call) -> bool:
    rank = len(call.node.outputs[0].shape)
    return activation_of(call.layer.activation, rank).keeps_zero


def _activated(call, vector: tf.Tensor) -> tf.Tensor:
    """The layer's own activation on one number a channel."""
    shape = [1] * (len(call.node.outputs[0].shape) - 1) + [-1]
    return tf.reshape(call.layer.activation(tf.reshape(vector, shape)), [-1])


def _constant_sum(rule, layer, values: tf.Tensor) -> tf.Tensor:
    """What constant inputs add to the bias: `(outputs,)`."""
    kernel = tf.cast(layer.kernel, tf.float32)
    sums = tf.reduce_sum(kernel, axis=list(range(len(kernel.shape) - 2)))
    if isinstance(rule, GroupedConvolution):
        sums = tf.reshape(sums, [sums.shape[0], layer.groups, -1])
        by_group = tf.reshape(values, [layer.groups, -1])
        return tf.reshape(tf.einsum("gi,igo->go", by_group, sums), [-1])
    return tf.linalg.matvec(sums, values, transpose_a=True)


def _at_zero(node) -> np.ndarray:
    """What the operation makes of zeros, a number a channel; NaN where that is none."""
    zeros = {value: np.zeros(value.shape[-1]) for value in node.inputs}
    with tf.init_scope():
        return on_constants(node, zeros)


def _behind_depthwise(rule, call, x: Known) -> Known:
    layer, depth = call.layer, call.layer.depth_multiplier
    width = call.outputs[0].count
    bias = tf.cast(layer.bias, tf.float32) if layer.use_bias else tf.zeros(width)
    if x.zero and not layer.use_bias and _keeps_zero(call):
        return Known(tf.repeat(x.live, depth), tf.zeros(width), True)
    live = x.live
    if pads(layer, call.node.inputs[0].shape):
        live |= x.constant != 0
    elif not x.zero:
        kernel = tf.reshape(tf.cast(layer.kernel, tf.float32), [-1, x.live.shape[0], depth])
        bias += tf.reshape(tf.reduce_sum(kernel, axis=0) * x.constant[:, None], [-1])
    return _known(tf.repeat(live, depth), _activated(call, bias))


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


def _behind_softmax(rule, call, x: Known) -> Known:
    made = _of_array(np.full(x.live.shape[0], rule.of_a_constant(call)))
    return _known(x.live | made.live, made.constant)


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
