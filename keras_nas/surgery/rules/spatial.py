"""Operations over space: pooling, padding, cropping, resizing, and the pixel shuffle."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from keras_nas.graph.kinds import kind
from keras_nas.surgery.channels import Channels
from keras_nas.surgery.rules.base import Rule, SameChannels, positions
from keras_nas.surgery.rules.known_values import Known, either, of_array, settled
from keras_nas.surgery.rules.relaxed_vectors import concat, union

ZERO_ONLY = frozenset(["ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D", "ops.Sum"])


class Spatial(SameChannels):
    """Each output channel reads its own input channel at several positions.

    A constant stays what it is, but where a border of zeros is added or it is summed (`ZERO_ONLY`):
    there only 0 does, and another constant turns live.
    """

    def accepts(self, call):
        return call.channels_are_last

    def commutes(self, call, binary):
        return True

    def constants(self, call):
        constants = call.input.constants.copy()
        if self._keeps_zero_only(call):
            constants[constants != 0] = np.nan
        return [Channels(len(call.node.outputs[0].shape) - 1, constants)]

    def known(self, call, given, masks):
        x = given[0]
        if x.zero or not self._keeps_zero_only(call):
            return [x]
        return [settled(x.nonzero, None, True)]

    @staticmethod
    def _keeps_zero_only(call) -> bool:
        return kind(call.layer) in ZERO_ONLY


class Resizing(Spatial):
    """Resizing that fills no border of its own."""

    def accepts(self, call):
        return super().accepts(call) and not call.layer.pad_to_aspect_ratio


class SpatialSoftmax(SameChannels):
    """Softmax or log-softmax over axes in space: of a constant over n places, 1/n or −log n."""

    def accepts(self, call):
        if not super().accepts(call) or len(call.node.inputs) != 1 or call.layer.axis is None:
            return False
        rank = len(call.node.inputs[0].shape)
        axes = {axis % rank for axis in np.atleast_1d(call.layer.axis).tolist()}
        return not axes & {0, call.input.axis}

    def constants(self, call):
        result = np.where(call.input.live, np.nan, self.of_a_constant(call))
        return [Channels(call.input.axis, result)]

    def known(self, call, given, masks):
        x = given[0]
        made = of_array(np.full(x.live.shape[0], self.of_a_constant(call)))
        return [settled(either(x.live, made.live), made.constant)]

    def of_a_constant(self, call) -> float:
        """What a constant becomes; NaN where a size is open."""
        shape = call.node.inputs[0].shape
        sizes = [shape[axis] for axis in np.atleast_1d(call.layer.axis).tolist()]
        if None in sizes:
            return float("nan")
        share = 1.0 / float(np.prod(sizes))
        return float(np.log(share)) if kind(call.layer) == "ops.LogSoftmax" else share


class SpatialReduction(Spatial):
    """`keras.ops` mean, max, min and sum over axes other than the channels'."""

    def accepts(self, call):
        if not super().accepts(call) or call.layer.axis is None:
            return False
        if getattr(call.layer, "initial", None) is not None:
            return False
        rank = len(call.node.inputs[0].shape)
        axes = np.atleast_1d(call.layer.axis)
        return all(0 < axis % rank < rank - 1 for axis in axes)


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


class Pad(Rule):
    """Padding with zeros. Channels that are nothing but padding are constants, and not built.

    Worked example: the parameterless shortcut of a ResNet pads channels (0, 1) by one on either
    side to (0, x0, x1, 0); the new tensor holds (x0, x1), and the join that reads it aligns them.
    Without alignment it pads on, by as many as are asked for.
    """

    def accepts(self, call):
        node, channels = call.node, call.inputs[0]
        value = node.args[1] if len(node.args) > 1 else node.kwargs.get("constant_values")
        return (
            channels is not None
            and len(node.inputs) == 1
            and channels.is_last(node.inputs[0])
            and call.layer.mode == "constant"
            and (value is None or (np.ndim(value) == 0 and value == 0))
        )

    def constants(self, call):
        inner = call.input.constants.copy()
        if self._spreads(call):
            inner[inner != 0] = np.nan
        constants = np.pad(inner, self._beside(call))
        return [Channels(call.input.axis, constants)]

    def wants(self, call, produced):
        before, _ = self._beside(call)
        return [produced[0][before : before + call.input.count]]

    def produces(self, call, produced, wants):
        return [produced[0] | np.pad(wants[0], self._beside(call))]

    def known(self, call, given, masks):
        x, beside = given[0], [self._beside(call)]
        live = x.nonzero if self._spreads(call) else x.live
        if not any(*beside):
            return [Known(live, x.constant, x.zero)]
        live = tf.pad(live, beside)
        constant = np.zeros(live.shape[0], "float32") if x.zero else tf.pad(x.constant, beside)
        return [Known(live, constant, x.zero)]

    def needs(self, call, given, produced):
        before, after = self._beside(call)
        if not (before or after):
            return produced, produced[0]
        reads = produced[0][before : before + call.input.count]
        return [reads], tf.pad(reads, [[before, after]])

    def alive(self, call, given, factors, h):
        before, after = (np.zeros(width, "float32") for width in self._beside(call))
        return [concat([before, given[0], after])]

    def asked(self, call, asked, factors, h):
        return self.wants(call, asked)

    def row_macs(self, call):
        before, after = self._beside(call)
        return float("inf") if before or after else positions(call.node.outputs[0])

    def build(self, call, builder):
        tensor = builder.fetch(call, 0)
        before, _ = self._beside(call)
        made, end = call.produces[0], before + call.input.count
        widths = [*self._widths(call)[:-1], (int(made[:before].sum()), int(made[end:].sum()))]
        if not any(before or after for before, after in widths):
            return [tensor]
        return builder.apply(call, [tensor], {"pad_width": widths})

    def _spreads(self, call) -> bool:
        """Whether zeros stand around a channel in space."""
        return any(before or after for before, after in self._widths(call)[1:-1])

    def _widths(self, call) -> list[tuple[int, int]]:
        """(before, after) for each axis, the batch's too."""
        widths = [tuple(pair) for pair in call.layer.pad_width]
        rank = len(call.node.inputs[0].shape)
        return widths * rank if len(widths) == 1 else widths

    def _beside(self, call) -> tuple[int, int]:
        return self._widths(call)[-1]
