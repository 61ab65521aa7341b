"""Operations that act on every element alone: activations, clips, dropouts, PReLU."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from keras_nas.graph.activations import activation_of
from keras_nas.graph.kinds import kind
from keras_nas.surgery.channels import Channels
from keras_nas.surgery.rules.arrays import array_settings, by_channel, fits, take_channels
from keras_nas.surgery.rules.base import SameChannels
from keras_nas.surgery.rules.constant_folding import on_constants, on_known
from keras_nas.surgery.rules.known_values import Known, either, settled


class Elementwise(SameChannels):
    """y = f(x) element by element; f(constant) is found by calling the operation.

    The bounds of `ops.clip` may be given by channel: they keep the channels that x keeps.
    """

    def accepts(self, call):
        if not super().accepts(call) or len(call.node.inputs) != 1:
            return False
        if call.node.outputs[0].dtype == "bool":
            return False
        settings = array_settings(call.layer)
        if settings and (kind(call.layer) != "ops.Clip" or not _fit(call, settings)):
            return False
        if kind(call.layer) == "Activation":
            return _activation(call.node).elementwise
        return True

    def commutes(self, call, binary):
        if _is_homogeneous(call.node):
            return True
        return binary and not np.any(on_constants(call.node, {call.node.inputs[0]: np.zeros(1)}))

    def constants(self, call):
        channels = call.input
        result = channels.constants.copy()
        if not channels.live.all():
            known = ~channels.live
            filled = np.where(known, channels.constants, 0.0)
            values = on_constants(call.node, {call.node.inputs[0]: filled})
            result[known] = values[known]
        return [Channels(channels.axis, result)]

    def known(self, call, given, masks):
        x = given[0]
        made = on_known(call.node, [x], x.live.shape[0])
        return [Known(either(x.live, made.live), made.constant, made.zero)]

    def build(self, call, builder):
        settings = array_settings(call.layer)
        if not settings:
            return super().build(call, builder)
        rank, channels = len(call.node.outputs[0].shape), call.input
        bounds = {
            key: take_channels(array, rank, channels.axis, call.produces[0])
            for key, array in settings.items()
        }
        low = bounds.get("x_min", call.layer.x_min)
        high = bounds.get("x_max", call.layer.x_max)
        return [keras.ops.clip(builder.fetch(call, 0), low, high)]


def _fit(call, settings: dict[str, np.ndarray]) -> bool:
    """Whether each array has one number a channel, the call's channels on the last axis."""
    value, channels = call.node.inputs[0], call.input
    return channels.is_last(value) and all(
        fits(array, len(value.shape), channels.axis, channels.count)
        and array.size == array.shape[-1]
        for array in settings.values()
    )


class Identity(SameChannels):
    """Dropout and its like: nothing happens at inference."""

    def commutes(self, call, binary):
        return True

    def row_macs(self, call):
        return 0.0

    def constants(self, call):
        return [Channels(call.input.axis, call.input.constants.copy())]

    def known(self, call, given, masks):
        return given


class PReLU(SameChannels):
    """max(0, x) + α min(0, x) with α by channel, shared over the other axes or not."""

    stateful = True

    def accepts(self, call):
        return super().accepts(call) and call.input.is_last(call.node.inputs[0])

    def commutes(self, call, binary):
        return True

    def constants(self, call):
        alpha = np.asarray(call.layer.alpha, "float64")
        alpha = alpha.reshape(-1, alpha.shape[-1])
        constants = call.input.constants
        negative = np.where(np.ptp(alpha, axis=0) == 0, alpha[0] * constants, np.nan)
        return [Channels(call.input.axis, np.where(constants >= 0, constants, negative))]

    def known(self, call, given, masks):
        x, alpha = given[0], call.layer.alpha
        if x.zero:
            return [x]
        alpha = tf.reshape(tf.cast(alpha, tf.float32), [-1, alpha.shape[-1]])
        uneven = tf.reduce_max(alpha, axis=0) != tf.reduce_min(alpha, axis=0)
        negative = x.constant < 0
        constant = tf.where(negative, alpha[0] * x.constant, x.constant)
        return [settled(either(x.live, uneven & negative), constant)]

    def build(self, call, builder):
        alpha = np.asarray(call.layer.alpha)
        if alpha.shape[-1] == call.input.count:
            alpha = alpha[..., call.wants[0]]
        return builder.apply(call, [builder.fetch(call, 0)], {}, [alpha])


def _activation(node):
    return activation_of(node.operation.activation, len(node.inputs[0].shape))


def _is_homogeneous(node) -> bool:
    """Whether f(a x) = a f(x) for every a > 0."""
    name = kind(node.operation)
    if name in ("ReLU", "ops.ReLU"):
        layer = node.operation
        return layer.max_value is None and not layer.threshold
    if name == "Activation":
        return _activation(node).homogeneous
    return name in ("LeakyReLU", "ops.Relu", "ops.LeakyRelu", "Identity", "ops.Identity")


class Rescaling(SameChannels):
    """scale · x + offset; nothing where others took it over.

    Each of the two is one number, one a channel, or an array that broadcasts against x: a constant
    channel then stays one only where it comes out the same everywhere.
    """

    def accepts(self, call):
        value = call.node.inputs[0]
        rank = len(value.shape)
        return (
            super().accepts(call)
            and call.input.is_last(value)
            and call.node.outputs[0].shape == value.shape
            and all(
                fits(np.asarray(array), rank, rank - 1, call.input.count)
                for array in (call.layer.scale, call.layer.offset)
            )
        )

    def commutes(self, call, binary):
        return self.own_factors(call) is not None

    def own_factors(self, call):
        """The scale, if it is one number or one a channel of the last axis, each above 0, there is
        no offset, and the network has made what it multiplies."""
        layer, value = call.layer, call.node.inputs[0]
        scale = np.asarray(layer.scale)
        plain = (
            scale.size in (1, scale.shape[-1] if scale.ndim else 1)
            and np.all(scale > 0)
            and not np.any(layer.offset)
            and value.producer is not None
            and value.dtype == call.node.outputs[0].dtype
        )
        return scale if plain else None

    def constants(self, call):
        if call.scale is not None:
            return [Channels(call.input.axis, call.input.constants.copy())]
        scale, offset = rescaling_columns(call)
        constants = call.input.constants * scale + offset
        return [Channels(call.input.axis, constants)]

    def known(self, call, given, masks):
        x, (scale, offset) = given[0], rescaling_columns(call)
        live = either(x.live, np.isnan(scale + offset))
        scale, offset = (np.nan_to_num(column).astype("float32") for column in (scale, offset))
        return [settled(live, x.constant * scale + offset, x.zero and not offset.any())]

    def build(self, call, builder):
        if call.scale is not None:
            return [builder.fetch(call, 0)]
        rank, axis = len(call.node.inputs[0].shape), call.input.axis
        changes = {
            key: take_channels(np.asarray(value), rank, axis, call.wants[0]).tolist()
            for key, value in (("scale", call.layer.scale), ("offset", call.layer.offset))
            if np.size(value) > 1
        }
        return builder.apply(call, [builder.fetch(call, 0)], changes)


def rescaling_columns(call) -> list[np.ndarray]:
    """A Rescaling's scale and offset by channel; NaN where one varies over the other axes."""
    rank, axis, count = len(call.node.inputs[0].shape), call.input.axis, call.input.count
    return [
        by_channel(np.asarray(array), rank, axis, count)
        for array in (call.layer.scale, call.layer.offset)
    ]
