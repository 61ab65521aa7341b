"""`keras.ops.depth_to_space`, the pixel shuffle of super-resolution."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from keras_nas.surgery.channels import Channels
from keras_nas.surgery.rules.base import Rule
from keras_nas.surgery.rules.known import settled
from keras_nas.surgery.rules.relaxed import concat, union


class DepthToSpace(Rule):
    """Spreads b² input channels over the b × b pixels of one output channel.

    Of C output channels, channel c holds input channel (b·dy + dx)·C + c at the places whose row
    and column leave dy and dx when divided by b. It is needed with all of its b² parts or not at
    all.

    Worked example: b = 2, C = 3: input channels 1, 4, 7, 10 make output channel 1. It is a
    constant where these four are the same constant; where nobody reads it, all four may go.
    """

    def accepts(self, call):
        return call.channels_are_last

    def constants(self, call):
        parts = self._parts(call, call.input.constants)
        same = (parts == parts[0]).all(axis=0)
        return [Channels(call.input.axis, np.where(same, parts[0], np.nan))]

    def wants(self, call, produced):
        return [np.tile(produced[0], call.layer.block_size**2)]

    def produces(self, call, produced, wants):
        return [produced[0]]

    def known(self, call, given, masks):
        parts, x = call.layer.block_size**2, given[0]
        live, constant = tf.reshape(x.live, [parts, -1]), tf.reshape(x.constant, [parts, -1])
        differ = tf.reduce_any(constant != constant[0], axis=0)
        return [settled(tf.reduce_any(live, axis=0) | differ, constant[0], x.zero)]

    def needs(self, call, given, produced):
        return [tf.tile(produced[0], [call.layer.block_size**2])], produced[0]

    def alive(self, call, given, factors, h):
        width = call.outputs[0].count
        starts = range(0, call.input.count, width)
        return [union([given[0][start : start + width] for start in starts], h)]

    def asked(self, call, asked, factors, h):
        return [concat([asked[0]] * call.layer.block_size**2)]

    def row_macs(self, call):
        return 0.0

    def _parts(self, call, by_channel: np.ndarray) -> np.ndarray:
        return by_channel.reshape(call.layer.block_size**2, -1)
