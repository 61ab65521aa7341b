"""Gated small networks and data for `fit`."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from keras_nas import gates
from tests.training.nets import random_images, small_net

CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


class BrokenOffError(Exception):
    """A fit that is broken off."""


class BreakOff(keras.callbacks.Callback):
    """Breaks a fit off when an epoch begins."""

    def __init__(self, epoch: int):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise BrokenOffError


def no_task(targets, outputs):
    """A loss of 0 that moves nothing."""
    return 0.0 * tf.reduce_sum(outputs, axis=-1)


def sgd(rate=0.1, momentum=0.0):
    return keras.optimizers.SGD(rate, momentum=momentum)


def gated(kind, *, optimizer=None, loss=CROSS_ENTROPY, weights=False, dtype=None, **options):
    """A compiled small network with soft gates of a kind: 3 × 8 channels."""
    keras.utils.set_random_seed(0)
    model = gates.insert(small_net(dtype=dtype), kind, **options)
    gates.set_mode(model, "soft")
    for layer in model.layers:
        layer.trainable = weights or isinstance(layer, kind)
    model.compile(optimizer or sgd(momentum=0.9), loss)
    return model


def images(batches=4):
    """`(x, y)`, 16 examples a batch."""
    pairs = [(np.asarray(x), np.asarray(y)) for x, y in random_images(16 * batches)]
    return tuple(np.concatenate(part) for part in zip(*pairs, strict=True))


def fit(model, callbacks, *, epochs=1, batches=4, **options):
    """`History.history` of a fit in the data's order."""
    x, y = images(batches)
    return model.fit(
        x, y, batch_size=16, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks, **options
    ).history


def logits(model):
    """Of all gates, one behind the other."""
    found = [keras.ops.convert_to_numpy(gate.logits) for gate in gates.find(model)]
    return np.concatenate(found)
