"""Closing gates at random, and comparing the network that surgery builds with the gated one."""

from __future__ import annotations

import keras
import numpy as np

import keras_nas as kn


def outputs(model, x):
    return [np.asarray(y) for y in keras.tree.flatten(model(x, training=False))]


def images(model, count=3):
    random = np.random.default_rng(5)
    return random.normal(size=(count, *model.input_shape[1:])).astype("float32")


def close_some(supernet, share=0.5, seed=0):
    """Closes about such a share of each gate, never all."""
    random = np.random.default_rng(seed)
    for gate in kn.gates.find(supernet):
        mask = random.random(gate.channels) >= share
        mask[random.integers(gate.channels)] = True
        gate.set_mask(mask)


def is_rebuilt(supernet, align="auto", atol=1e-4, prices=None):
    """The small network, whose outputs and macs are compared."""
    x = images(supernet)
    architecture = kn.Architecture.from_gates(supernet, align=align, prices=prices)
    small = kn.surgery.build(supernet, architecture, align=align, prices=prices)
    for a, b in zip(outputs(supernet, x), outputs(small, x), strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=atol * max(np.abs(a).max(), 1e-3))
    assert architecture.costs["after"]["macs"] == kn.costs.count(small).macs
    return small
