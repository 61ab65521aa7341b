"""Depthwise convolutions: output channel c·m + j reads input channel c."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from keras_nas.surgery.channels import Channels
from keras_nas.surgery.rules.base import Rule, positions
from keras_nas.surgery.rules.constant_folding import activated, apply_activation, own_activation
from keras_nas.surgery.rules.convolution import pads
from keras_nas.surgery.rules.known_values import is_filled, settled
from keras_nas.surgery.rules.relaxed_vectors import folded, repeat


class DepthwiseConvolution(Rule):
    """DepthwiseConv1D, DepthwiseConv2D. All depth multiples of a kept channel stay."""

    stateful = True

    def accepts(self, call):
        return call.channels_are_last and own_activation(call).elementwise

    def takes_factors(self, call, binary):
        return own_activation(call).lets_through(binary)

    def constants(self, call):
        layer = call.layer
        foldable = call.input.constants.copy()
        if pads(layer, call.node.inputs[0].shape):
            foldable[foldable != 0] = np.nan
        kernel = np.asarray(layer.kernel, "float64").reshape(
            -1, call.input.count, self._depth(call)
        )
        result = np.where(
            (foldable == 0)[:, None], 0.0, kernel.sum(axis=0) * foldable[:, None]
        ).reshape(-1)
        if layer.use_bias:
            result = result + np.asarray(layer.bias)
        constants = apply_activation(call, result)
        if call.factor is not None:
            constants = constants * call.factor
            constants[call.factor == 0] = 0.0
        return [Channels(call.input.axis, constants)]

    def wants(self, call, produced):
        return [produced[0].reshape(-1, self._depth(call)).any(axis=1)]

    def produces(self, call, produced, wants):
        return [np.repeat(wants[0], self._depth(call))]

    def known(self, call, given, masks):
        layer, depth, x = call.layer, self._depth(call), given[0]
        padded = pads(layer, call.node.inputs[0].shape)
        live = repeat(x.nonzero if padded else x.live, depth)
        adds = not x.zero and not padded
        zero = not adds and not layer.use_bias and own_activation(call).keeps_zero
        if zero or is_filled(live, True):
            return [settled(live, None, True)]
        width = call.outputs[0].count
        bias = tf.cast(layer.bias, tf.float32) if layer.use_bias else tf.zeros(width)
        if adds:
            kernel = tf.reshape(tf.cast(layer.kernel, tf.float32), [-1, x.live.shape[0], depth])
            bias += tf.reshape(tf.reduce_sum(kernel, axis=0) * x.constant[:, None], [-1])
        return [settled(live, activated(call, bias))]

    def needs(self, call, given, produced):
        depth = self._depth(call)
        if depth == 1:
            return produced, produced[0]
        reads = tf.reduce_any(tf.reshape(produced[0], [-1, depth]), axis=1)
        return [reads], tf.repeat(reads, depth)

    def alive(self, call, given, factors, h):
        return [repeat(given[0], self._depth(call))]

    def asked(self, call, asked, factors, h):
        return [folded(asked[0], self._depth(call), h)]

    def row_macs(self, call):
        return float(positions(call.node.outputs[0]) * np.prod(call.layer.kernel_size))

    def kernel_kind(self, call):
        return "depthwise"

    def build(self, call, builder):
        layer = call.layer
        kept, outputs = call.wants[0], call.produces[0]
        kernel = np.asarray(layer.kernel)[..., kept, :]
        bias = np.asarray(layer.bias)[outputs] if layer.use_bias else None
        if call.factor is not None:
            factor = call.factor[outputs]
            kernel = kernel * factor.reshape(-1, self._depth(call))
            bias = None if bias is None else bias * factor
        weights = [kernel] if bias is None else [kernel, bias]
        return builder.apply(call, [builder.fetch(call, 0)], {}, weights)

    @staticmethod
    def _depth(call) -> int:
        return call.layer.depth_multiplier
