"""Arrays among an operation's arguments: of any shape, on either side, constant in space or not."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import keras_nas as kn
from keras_nas.surgery.rules.arrays import by_channel, take_channels
from tests.surgery.exact import exactly_rebuilt, gated, head


def numbers(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape).astype("float32")


X = numbers(2, 6, 6, 3)
"""As high and as wide as there are channels: an axis is never told by its length."""


def rebuilt(join, batch=None):
    inputs = keras.Input(batch_shape=(batch, 6, 6, 3))
    return exactly_rebuilt(inputs, head(join(gated(inputs))), X)


def kernel_inputs(small):
    return small.get_layer("b").kernel.shape[-2]


SHAPES = [(6,), (1, 1, 6), (6, 1, 1), (6, 6, 1), (6, 1), (6, 6), (6, 6, 6), (1, 6, 6, 6)]


@pytest.mark.parametrize("shape", SHAPES)
def test_sum_with_an_array_is_exact(shape):
    array = numbers(*shape)
    rebuilt(lambda x: x + array)


@pytest.mark.parametrize(
    "join",
    [
        lambda x: ops.subtract(numbers(6, 1, 1), x),
        lambda x: ops.maximum(x1=numbers(6, 6, 6), x2=x),
        lambda x: ops.minimum(x, numbers(6, 6, 1)),
        lambda x: ops.divide(numbers(6, 6, 1), ops.abs(x) + 0.5),
        lambda x: ops.power(ops.abs(x) + 0.5, numbers(6, 1, 1)),
        lambda x: tf.constant(numbers(6, 6, 6)) + x,
        lambda x: x + tf.Variable(numbers(6, 1, 1)),
        lambda x: ops.multiply(x, keras.Variable(numbers(6, 6, 1))),
        lambda x: x + numbers(6, 6, 1).astype("float64"),
        lambda x: ops.where(numbers(6, 6, 1) > 0, x, numbers(6)),
        lambda x: ops.where(numbers(6) > 0, numbers(6, 1, 1), x),
        lambda x: ops.where(numbers(6, 6, 6) > 0, x, ops.relu(x)),
        lambda x: layers.Rescaling(np.abs(numbers(6, 1, 1)))(x),
        lambda x: layers.Rescaling(numbers(6, 6, 6), numbers(6, 6, 1))(x),
        lambda x: layers.Rescaling(np.abs(numbers(6)), numbers(1, 1, 6))(x),
        lambda x: ops.clip(x, -np.abs(numbers(6)), np.abs(numbers(1, 1, 6))),
    ],
)
def test_other_operations_and_kinds_of_arrays_are_exact(join):
    rebuilt(join)


def test_zeros_times_an_array_are_zeros():
    """Behind the gate itself the three closed channels are 0, and 0 · a is 0 everywhere."""
    inputs = keras.Input((6, 6, 3))
    x = layers.ReLU()(gated(inputs))
    gate = kn.layers.ScaledSigmoidGate(name="second")
    y = gate(x)
    gate.set_mask([1, 0, 1, 1, 0, 0])
    small = exactly_rebuilt(inputs, head(y * numbers(6, 6, 6)), X)
    assert kernel_inputs(small) == 3


def test_zeros_of_the_array_close_channels():
    small = rebuilt(lambda x: x * np.float32([0, 0, 2, 0, 0, 3]))
    assert kernel_inputs(small) == 2


def test_bounds_by_channel_are_sliced_and_bounds_in_space_are_not_understood():
    lower, upper = np.zeros(6, "float32"), np.linspace(0.1, 2, 6).astype("float32")
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(6, 1, name="a")(inputs)
    gate = kn.layers.ScaledSigmoidGate()
    y = gate(x)
    gate.set_mask([1, 0, 1, 1, 0, 0])
    assert kernel_inputs(exactly_rebuilt(inputs, head(ops.clip(y, lower, upper)), X)) == 3


def test_concatenated_array_is_kept():
    """4 of the 2 + 6 + 2 channels are closed, two of them by a constant array."""
    grid = numbers(2, 6, 6, 2)
    flat = np.ones((2, 6, 6, 2), "float32")
    small = rebuilt(lambda x: ops.concatenate([grid, x, flat], axis=-1), batch=2)
    assert kernel_inputs(small) == 10
    small = rebuilt(lambda x: layers.Concatenate()([x, grid]), batch=2)
    assert kernel_inputs(small) == 8


def test_concatenated_zeros_are_dropped():
    small = rebuilt(
        lambda x: ops.concatenate([np.zeros((2, 6, 6, 2), "float32"), x], axis=-1), batch=2
    )
    assert kernel_inputs(small) == 6


def test_only_the_array_of_a_concatenation_is_left():
    grid = numbers(2, 6, 6, 2)
    rebuilt(lambda x: ops.concatenate([x, grid], axis=-1)[..., 6:], batch=2)


def test_array_beside_the_tensor_in_space():
    """A class token: one more position, another number in every channel."""
    token = np.broadcast_to(numbers(1, 1, 6), (2, 1, 6)).copy()
    rebuilt(lambda x: ops.concatenate([ops.reshape(x, (2, 36, 6)), token], axis=1), batch=2)


@pytest.mark.parametrize(
    ("join", "name"),
    [
        (lambda x: ops.matmul(x, numbers(6, 4)), "Matmul"),
        (lambda x: layers.Multiply()([x, numbers(2, 6, 6, 6)]), "Multiply"),
        (lambda x: ops.clip(x, numbers(6, 6, 6) - 3, 3.0), "Clip"),
    ],
)
def test_what_no_rule_reads_keeps_all_and_is_named(join, name, caplog):
    rebuilt(join, batch=2)
    assert f"({name})" in caplog.text


def test_by_channel_and_take_channels():
    array = np.float32([[[1, 2]], [[1, 3]]])
    np.testing.assert_array_equal(by_channel(array, 4, 3, 2), [1, np.nan])
    np.testing.assert_array_equal(by_channel(np.float32([5]), 4, 3, 2), [5, 5])
    np.testing.assert_array_equal(by_channel(array[..., :1], 4, 3, 2), [1, 1])
    np.testing.assert_array_equal(by_channel(array[..., 1:], 4, 3, 2), [np.nan, np.nan])
    mask = np.array([False, True])
    np.testing.assert_array_equal(take_channels(array, 4, 3, mask), array[..., 1:])
    rows = np.float32([1, 2]).reshape(2, 1, 1)
    np.testing.assert_array_equal(take_channels(rows, 4, 3, mask), rows)
