"""What is found out about activation functions, by name and by trial."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from keras_nas.graph.activations import Activation, activation_of

HOMOGENEOUS = Activation(True, True, True)
ZERO_AT_ZERO = Activation(True, True, False)
ELEMENTWISE = Activation(True, False, False)
UNKNOWN = Activation()


def hard_swish(x):
    return x * ops.relu6(x + 3.0) / 6.0


def centred(x):
    """The same numbers in another order give the same results in that order, and yet it mixes."""
    return x - ops.mean(x)


def scaled_by_width(x):
    return x / x.shape[-1] ** 0.5


def relu_in_half_of_the_channels(x):
    half = x.shape[-1] // 2
    return ops.concatenate([ops.relu(x[..., :half]), x[..., half:]], axis=-1)


def noisy(x):
    return x + tf.random.normal(tf.shape(x))


class Unhashable:
    __hash__ = None

    def __call__(self, x):
        return ops.tanh(x)


@pytest.mark.parametrize("rank", [2, 3, 4])
@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        (None, HOMOGENEOUS),
        (keras.activations.relu, HOMOGENEOUS),
        (keras.activations.tanh, ZERO_AT_ZERO),
        (keras.activations.sigmoid, ELEMENTWISE),
        (keras.activations.softmax, UNKNOWN),
        (tf.nn.relu, HOMOGENEOUS),
        (tf.nn.relu6, ZERO_AT_ZERO),
        (tf.math.sigmoid, ELEMENTWISE),
        (tf.nn.softmax, UNKNOWN),
        (ops.relu, HOMOGENEOUS),
        (ops.silu, ZERO_AT_ZERO),
        (ops.softmax, UNKNOWN),
        (hard_swish, ZERO_AT_ZERO),
        (lambda x: ops.leaky_relu(x, 0.1), HOMOGENEOUS),
        (lambda x: ops.relu(x) + 0.5, ELEMENTWISE),
        (lambda x: ops.minimum(ops.relu(x), 1e3), ZERO_AT_ZERO),
        (functools.partial(keras.activations.relu, max_value=6.0), ZERO_AT_ZERO),
        (Unhashable(), ZERO_AT_ZERO),
        (layers.LeakyReLU(), HOMOGENEOUS),
        (centred, UNKNOWN),
        (scaled_by_width, UNKNOWN),
        (relu_in_half_of_the_channels, UNKNOWN),
        (noisy, UNKNOWN),
        (lambda x: ops.softmax(x, axis=1), UNKNOWN),
        (lambda x: ops.cumsum(x, axis=-1), UNKNOWN),
        (lambda x: ops.flip(x, axis=-1), UNKNOWN),
        (lambda x: x + np.linspace(0, 1, 7, dtype="float32"), UNKNOWN),
        (tf.nn.crelu, UNKNOWN),
        (lambda x: ops.cast(x, "int32"), UNKNOWN),
    ],
)
def test_known_by_name_or_by_trial(activation, expected, rank):
    assert activation_of(activation, rank) == expected


def test_layer_with_weights_is_not_elementwise():
    layer = layers.PReLU()
    layer(np.zeros((1, 120), "float32"))
    assert activation_of(layer, 2) == UNKNOWN
