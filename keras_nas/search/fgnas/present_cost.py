"""R under the gates as they are, counted again only when a gate has opened or closed."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from keras_nas.layers.ste_gate import opened
from keras_nas.regularizers import Resource


class PresentCost:
    """R of the present masks; it stays on the device.

    Args:
        resource: What counts; its gates are `STEGate`s.
        full: R with every gate open.

    Attributes:
        value: The last R that was found: a float64 scalar.
    """

    def __init__(self, resource: Resource, full: float):
        self._resource = resource
        channels = sum(gate.channels for gate in resource.gates)
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
        present = opened(self._resource.gates)
        before = tf.convert_to_tensor(self.value)
        changed = tf.reduce_any(present != tf.convert_to_tensor(self._opened))
        found = tf.cond(changed, lambda: self._resource.exact_of_all(present), lambda: before)
        self._opened.assign(present)
        self.value.assign(found)
        return found
