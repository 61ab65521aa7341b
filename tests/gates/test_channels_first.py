"""Layers whose channels come first: refused where nothing else can be gated, else left whole."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_nas as kn
from keras_nas.layers import ScaledSigmoidGate
from tests.random_models import randomize

FIRST = {"data_format": "channels_first"}


def first_network():
    inputs = x = keras.Input((3, 8, 8))
    for n in range(4):
        x = layers.Conv2D(8, 3, padding="same", name=f"c{n}", **FIRST)(x)
        x = layers.ReLU()(layers.BatchNormalization(axis=1)(x))
    x = layers.GlobalAveragePooling2D(**FIRST)(layers.MaxPooling2D(2, **FIRST)(x))
    return keras.Model(inputs, layers.Dense(4)(x), name="first")


def mixed_network():
    """A main way of channels last, as wide and high as it has channels, with a side way."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same", name="main")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(axis=1)(x))
    side = layers.Conv2D(8, 3, padding="same", name="side", **FIRST)(x)
    side = layers.AveragePooling2D(3, 1, padding="same", **FIRST)(side)
    side = layers.BatchNormalization(axis=2)(layers.LayerNormalization(axis=1)(side))
    x = layers.Conv2D(8, 3, padding="same", name="last")(layers.Add()([x, side]))
    x = layers.AveragePooling2D(3, 1, padding="same", **FIRST)(x)
    return keras.Model(inputs, layers.Dense(4)(layers.Flatten()(x)), name="mixed")


def answers(model, x):
    """By XLA, which convolves channels-first on every CPU; TensorFlow's kernels need oneDNN's."""
    return np.asarray(tf.function(model, jit_compile=True)(x))


@pytest.mark.parametrize(
    "gated",
    [
        lambda model: kn.gates.insert(model, ScaledSigmoidGate),
        lambda model: kn.gates.insert(model, ScaledSigmoidGate, include="c1"),
        lambda model: kn.gates.widen(model, kernels=[5]),
    ],
)
def test_network_of_channels_first_is_refused_in_one_line(gated):
    with pytest.raises(kn.KerasNasError, match=r"'first'.*channels_first.*c1.*channels_last") as e:
        gated(first_network())
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("order", ["conv_bn_gate_relu", "conv_gate_bn_relu", "conv_bn_relu_gate"])
def test_layer_amid_others_stays_whole_and_is_named(order, caplog):
    model = mixed_network()
    randomize(model)
    supernet = kn.gates.insert(model, ScaledSigmoidGate, order=order)
    assert "side" in caplog.text
    assert [gate.name for gate in kn.gates.find(supernet)] == ["main_gate", "last_gate"]
    for gate in kn.gates.find(supernet):
        gate.set_mask([1, 0, 1, 1, 0, 0, 1, 0])
    small = kn.surgery.build(supernet, kn.Architecture.from_gates(supernet))
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    a, b = answers(supernet, x), answers(small, x)
    np.testing.assert_allclose(b, a, rtol=0, atol=1e-5 * np.ptp(a))
    assert "'side' (Conv2D)" in caplog.text
    assert small.get_layer("side").kernel.shape == (3, 3, 8, 8)


def test_included_layer_of_channels_first_is_an_error():
    with pytest.raises(kn.KerasNasError, match=r"channels_first.*side"):
        kn.gates.insert(mixed_network(), ScaledSigmoidGate, include=["main", "side"])
