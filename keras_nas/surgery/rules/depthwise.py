"""Depthwise convolutions: output channel c·m + j reads input channel c."""

from __future__ import annotations

import numpy as np

from keras_nas.graph.activations import activation_of
from keras_nas.graph.kinds import is_channels_last
from keras_nas.surgery.channels import Channels
from keras_nas.surgery.rules.base import Rule, positions
from keras_nas.surgery.rules.convolution import pads
from keras_nas.surgery.rules.evaluate import apply_activation


class DepthwiseConvolution(Rule):
    """DepthwiseConv1D, DepthwiseConv2D. All depth multiples of a kept channel stay."""

    stateful = True

    def accepts(self, call):
        channels = call.inputs[0]
        return (
            channels is not None
            and channels.is_last(call.node.inputs[0])
            and is_channels_last(call.layer)
            and activation_of(call.layer.activation, len(call.node.inputs[0].shape)).elementwise
        )

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

    def row_macs(self, call):
        return float(positions(call.node.outputs[0]) * np.prod(call.layer.kernel_size))

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
