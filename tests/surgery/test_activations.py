"""Activations that are functions: elementwise ones let channels go, what stays whole is named."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import keras_nas as kn
from keras_nas.layers import STEGate
from tests.random_models import randomize
from tests.surgery.counted_operations import moves
from tests.surgery.exact import exactly_rebuilt, gated, head

X = np.random.default_rng(0).normal(size=(2, 6, 6, 3)).astype("float32")


def hard_swish(x):
    return x * ops.relu6(x + 3.0) / 6.0


def shifted(x):
    return ops.tanh(x) + 0.5


def squashed(x):
    """Mixes channels."""
    return x / (1.0 + ops.norm(x, axis=-1, keepdims=True))


@pytest.mark.parametrize(
    "activation", [tf.nn.relu, ops.relu, layers.LeakyReLU(), hard_swish, tf.nn.relu6, shifted]
)
@pytest.mark.parametrize("kind", ["conv", "depthwise", "grouped", "layer"])
def test_elementwise_function_lets_channels_go(activation, kind, caplog):
    inputs = keras.Input((6, 6, 3))
    x = gated(inputs, zeros=True)
    if kind == "layer":
        x = layers.Activation(activation)(x)
    elif kind == "depthwise":
        x = layers.DepthwiseConv2D(3, padding="same", activation=activation)(x)
    else:
        groups = 2 if kind == "grouped" else 1
        x = layers.Conv2D(6, 1, groups=groups, activation=activation)(x)
    gate = kn.layers.ScaledSigmoidGate(name="second")
    y = gate(x)
    gate.set_mask([1, 1, 0, 0, 0, 1])
    small = exactly_rebuilt(inputs, head(y), X)
    assert "unknown layers" not in caplog.text
    both_open = kind == "layer" and activation is not shifted
    read = small.get_layer("b").kernel.shape[-2]
    assert read == 4 if kind == "grouped" else read <= (1 if both_open else 3)
    assert not moves(small)


def test_the_filler_of_a_group_is_read_or_gathered_away():
    """Channels 0, 1 and 5 are open, of groups (0, 1, 2) and (3, 4, 5): the second makes 3 as well.

    To gather 3 of the 4 at 36 positions takes 3 · 36 · 4.2 + 240 = 694 ns; to multiply channel 3's
    zeros in the 3×3 convolution behind them 36 · 9 · 8 · 0.075 = 194 ns.
    """
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(6, 1, groups=2, activation="relu", name="g")(gated(inputs, zeros=True))
    gate = kn.layers.ScaledSigmoidGate(name="second")
    y = head(gate(x))
    gate.set_mask([1, 1, 0, 0, 0, 1])
    small = exactly_rebuilt(inputs, y, X)
    supernet = keras.Model(inputs, y)
    padded = kn.surgery.build(supernet, kn.Architecture.from_gates(supernet), align="pad")
    for model, read in ((small, 4), (padded, 3)):
        assert (model.get_layer("g").filters, model.get_layer("g").groups) == (4, 2)
        assert model.get_layer("b").kernel.shape[-2] == read
    assert not moves(small)
    assert moves(padded)["Take"] == 1


def test_closed_channels_fold_through_the_function():
    """Conv-gate-BN-function: off channels leave as f(constant), into a 1x1 convolution's bias."""
    inputs = keras.Input((6, 6, 3))
    x = layers.Activation(hard_swish)(gated(inputs))
    small = exactly_rebuilt(inputs, layers.Flatten()(layers.Conv2D(2, 1, name="b")(x)), X)
    assert small.get_layer("b").kernel.shape == (1, 1, 3, 2)


@pytest.mark.parametrize(
    "softmax",
    [
        layers.Softmax(axis=1),
        layers.Softmax(axis=[1, 2]),
        lambda x: ops.softmax(x, axis=2),
        lambda x: ops.log_softmax(x, axis=1),
    ],
)
def test_softmax_over_space_lets_channels_go(softmax, caplog):
    """Of a constant over 6 places it is the constant 1/6."""
    inputs = keras.Input((6, 6, 3))
    x = softmax(gated(inputs))
    small = exactly_rebuilt(inputs, layers.Flatten()(layers.Conv2D(2, 1, name="b")(x)), X)
    assert small.get_layer("b").kernel.shape == (1, 1, 3, 2)
    assert "unknown layers" not in caplog.text


@pytest.mark.parametrize(
    ("mixer", "name"),
    [
        (layers.Softmax(name="m"), r"'m' \(Softmax\)"),
        (layers.Activation("softmax", name="m"), r"'m' \(Activation\)"),
        (layers.Activation(squashed, name="m"), r"'m' \(Activation\)"),
        (layers.Conv2D(6, 1, activation="softmax", name="m"), r"'m' \(Conv2D\)"),
        (layers.Conv2D(6, 1, activation=squashed, name="m"), r"'m' \(Conv2D\)"),
        (layers.DepthwiseConv2D(1, activation=squashed, name="m"), r"'m' \(DepthwiseConv2D\)"),
        (lambda x: ops.softmax(x, axis=-1), r"\(Softmax\)"),
        (layers.Softmax(axis=(2, 3), name="m"), r"'m' \(Softmax\)"),
    ],
)
def test_what_mixes_channels_amid_the_network_is_named(mixer, name, caplog):
    inputs = keras.Input((6, 6, 3))
    outputs = head(mixer(gated(inputs)))
    exactly_rebuilt(inputs, outputs, X)
    assert "unknown layers" in caplog.text
    supernet = keras.Model(inputs, outputs)
    with pytest.raises(kn.KerasNasError, match=name):
        kn.surgery.build(supernet, kn.Architecture.from_gates(supernet), strict=True)


@pytest.mark.parametrize("activation", ["softmax", squashed])
def test_mixing_activation_behind_nothing_but_constants(activation):
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(4, 1)(inputs)
    gate = kn.layers.ScaledSigmoidGate()
    y = layers.BatchNormalization()(gate(x))
    gate.set_mask([0] * 4)
    y = layers.Conv2D(6, 1, activation=activation)(y)
    exactly_rebuilt(inputs, head(layers.Concatenate()([y, inputs])), X)


@pytest.mark.parametrize("end", [layers.Softmax(), layers.Activation("softmax"), ops.softmax, None])
def test_softmax_at_the_end_is_not_named(end):
    inputs = keras.Input((6, 6, 3))
    x = layers.Flatten()(gated(inputs))
    logits = layers.Dense(3, activation=None if end else "softmax")(x)
    supernet = keras.Model(inputs, end(logits) if end else logits)
    kn.surgery.build(supernet, kn.Architecture.from_gates(supernet), strict=True)


def convolutions(activation, own: bool):
    inputs = x = keras.Input((6, 6, 3))
    for _ in range(2):
        x = layers.Conv2D(4, 3, padding="same", activation=activation if own else None)(x)
        x = x if own else layers.Activation(activation)(layers.BatchNormalization()(x))
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    randomize(model)
    return model


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("activation", [hard_swish, tf.nn.relu, squashed])
def test_widened_network_keeps_the_function(activation, own):
    model = convolutions(activation, own)
    wide = kn.gates.widen(model, kernels=[1, 3], original_only=True)
    np.testing.assert_allclose(wide(X), model(X), atol=1e-5)


def test_gate_stands_behind_an_elementwise_function_and_before_a_mixing_one():
    for activation, type_before in ((hard_swish, "Activation"), (squashed, "BatchNormalization")):
        model = convolutions(activation, own=False)
        supernet = kn.gates.insert(model, STEGate, order="conv_bn_relu_gate")
        graph = kn.graph.read(supernet)
        before = [
            type(node.inputs[0].producer.operation).__name__
            for node in graph.nodes
            if isinstance(node.operation, STEGate)
        ]
        assert before == [type_before] * 2
