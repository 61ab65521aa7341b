"""`keras.ops.pad`: zeros around a tensor, in space or beside the channels."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from keras_nas.surgery.channels import Channels
from keras_nas.surgery.rules.base import Rule, positions
from keras_nas.surgery.rules.known import Known
from keras_nas.surgery.rules.relaxed import concat


class Pad(Rule):
    """Padding with zeros. Channels that are nothing but padding are constants, and not built.

    Worked example: the parameterless shortcut of a ResNet pads channels (0, 1) by one on either
    side to (0, x0, x1, 0); the new tensor holds (x0, x1), and the join that reads it aligns them.
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
        return [np.pad(wants[0], self._beside(call))]

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
        widths = [*self._widths(call)[:-1], (0, 0)]
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
