"""Surgery of a small gated graph, compared with all that must be equal."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import keras_nas as kn
from keras_nas.layers import ScaledSigmoidGate
from tests.random_models import randomize

OPEN = [1, 0, 1, 1, 0, 0]
"""What the gate of `gated` keeps of its 6 channels."""


def gated(x, zeros: bool = False):
    """Convolution, gate, BatchNormalization: channels that are off leave as various constants.

    With `zeros` the gate stands last, and they leave as 0.
    """
    x = layers.Conv2D(6, 1, name="a")(x)
    gate = ScaledSigmoidGate(name="gate")
    if zeros:
        x = layers.BatchNormalization(name="bn")(x)
    x = gate(x)
    gate.set_mask(OPEN)
    return x if zeros else layers.BatchNormalization(name="bn")(x)


def head(x):
    """What follows the operation under test: it sees every channel at every position."""
    if len(x.shape) == 4:
        x = layers.Conv2D(2, 3, padding="same", name="b")(x)
    elif len(x.shape) == 3:
        x = layers.Conv1D(2, 3, padding="same", name="b")(x)
    return layers.Dense(2, name="out")(layers.Flatten()(x))


def exactly_rebuilt(inputs, outputs, x: np.ndarray, resources=("macs", "params")):
    """The small model of a gated one under random weights.

    Its outputs, and its costs as predicted and as the resource regularizer has them, are compared.
    """
    supernet = keras.Model(inputs, outputs)
    masks = {gate.name: gate.mask() for gate in kn.gates.find(supernet)}
    randomize(supernet, 1)
    for gate in kn.gates.find(supernet):
        gate.set_mask(masks[gate.name])
    architecture = kn.Architecture.from_gates(supernet)
    small = kn.surgery.build(supernet, architecture)
    for a, b in zip(_outputs(supernet, x), _outputs(small, x), strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-5 * max(np.ptp(a), 1e-3))
    for name in resources:
        assert architecture.costs["after"][name] == getattr(kn.costs.count(small), name)
        padded = kn.surgery.predict_costs(supernet, architecture, align="pad")
        resource = kn.regularizers.Resource(supernet, name)
        tensors = {gate: tf.constant(mask) for gate, mask in masks.items()}
        factors = {gate: tf.constant(mask, tf.float32) for gate, mask in masks.items()}
        assert float(resource.exact(tensors)) == getattr(padded, name)
        assert np.isfinite(float(resource.relaxed(factors)))
    return small


def _outputs(model, x):
    return [np.asarray(y) for y in keras.tree.flatten(model(x, training=False))]
