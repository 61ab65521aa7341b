"""Gates: what surgery is there to remove."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from keras_nas.surgery.channels import Channels
from keras_nas.surgery.rules.base import Rule, SameChannels
from keras_nas.surgery.rules.known_values import Known, both
from keras_nas.surgery.rules.relaxed_vectors import times


class GateRule(SameChannels):
    """Multiplies channel c by a fixed number: 0 where it is off, 1 (or an edge's scale) where on.

    Where the factor was baked into the operation before it (`attach`), nothing is left to do. Else
    channels that are off and yet asked for, or scaled, are multiplied by a stock Rescaling. A gate
    on an axis that is not the one surgery follows (behind a Permute) becomes a Rescaling of the
    whole tensor.
    """

    def accepts(self, call):
        return True

    def wants(self, call, produced):
        return [produced[0]] if self._follows(call) else Rule.wants(self, call, produced)

    def produces(self, call, produced, wants):
        return [wants[0]] if self._follows(call) else Rule.produces(self, call, produced, wants)

    def constants(self, call):
        if not self._follows(call):
            return Rule.constants(self, call)
        constants = call.input.constants * call.scale
        constants[call.scale == 0] = 0.0
        return [Channels(call.input.axis, constants)]

    def known(self, call, given, masks):
        if not self._follows(call):
            return None
        mask, x = masks[call.node.operation_name], given[0]
        constant = x.constant if x.zero else tf.where(mask, x.constant, 0.0)
        return [Known(both(x.live, mask), constant, x.zero)]

    def needs(self, call, given, produced):
        if not self._follows(call):
            return Rule.needs(Rule(), call, given, produced)
        return super().needs(call, given, produced)

    def alive(self, call, given, factors, h):
        if not self._follows(call):
            return Rule.alive(self, call, given, factors, h)
        return [times(given[0], factors[call.node.operation_name])]

    def asked(self, call, asked, factors, h):
        if not self._follows(call):
            return Rule.asked(self, call, asked, factors, h)
        return [times(asked[0], factors[call.node.operation_name])]

    def row_macs(self, call):
        return 0.0 if np.all(call.scale == 1) else super().row_macs(call)

    def build(self, call, builder):
        tensor = builder.fetch(call, 0)
        scale = call.scale[call.produces[0]]
        if np.all(scale == 1):
            return [tensor]
        return [builder.rescale(call, tensor, scale, np.zeros_like(scale))]

    @staticmethod
    def _follows(call) -> bool:
        channels = call.inputs[0]
        return channels is not None and channels.is_last(call.node.inputs[0])
