"""R under the gates as they are, counted again only when a gate has opened or closed."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from keras_nas.layers import STEGate
from keras_nas.regularizers import Resource


class PresentCost:
    """R of the present masks; it stays on the device.

    Args:
        resource: What counts.
        gates: The supernet's gates, in graph order.
        full: R with every gate open.

    Attributes:
        value: The last R that was found: a float64 scalar.
    """

    def __init__(self, resource: Resource, gates: Sequence[STEGate], full: float):
        self._resource = resource
        self._gates = gates
        channels = sum(gate.channels for gate in gates)
        self.value = keras.Variable(full, dtype="float64", trainable=False, name="resource")
        self._opened = keras.Variable(
            np.ones(channels, bool), dtype="bool", trainable=False, name="opened"
        )
        self._function = tf.function(self.counted, autograph=False)

    def __call__(self) -> tf.Tensor:
        """R under the present masks."""
        return self._function()

    def counted(self) -> tf.Tensor:
        """The same, inside a `tf.function`."""
        logits = tf.concat([tf.convert_to_tensor(gate.logits) for gate in self._gates], axis=0)
        opened = logits[:, 0] >= logits[:, 1]
        before = tf.convert_to_tensor(self.value)
        changed = tf.reduce_any(opened != tf.convert_to_tensor(self._opened))
        found = tf.cond(changed, lambda: self._count(opened), lambda: before)
        self._opened.assign(opened)
        self.value.assign(found)
        return found

    def _count(self, opened: tf.Tensor) -> tf.Tensor:
        parts = tf.split(opened, [gate.channels for gate in self._gates])
        return self._resource.exact(
            {gate.name: part for gate, part in zip(self._gates, parts, strict=True)}
        )
