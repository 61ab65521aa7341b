"""Operations that move, pick, repeat and split: followed exactly, or kept whole and named."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_nas as kn
from tests.surgery.exact import exactly_rebuilt, gated, head

X = np.random.default_rng(0).normal(size=(2, 6, 6, 3)).astype("float32")


def rebuilt(move, zeros):
    inputs = keras.Input((6, 6, 3))
    return exactly_rebuilt(inputs, head(move(gated(inputs, zeros))), X)


def filters(small):
    """How many channels are left to compute; gate `a` leaves 0, 2 and 3."""
    names = [layer.name for layer in small.layers]
    return small.get_layer("a").filters if "a" in names else 0


def joined(parts, *places):
    return ops.concatenate([parts[place] for place in places], axis=-1)


FOLLOWED = {
    "x[..., 2]": (lambda x: x[..., 2], 1),
    "x[..., 1]": (lambda x: x[..., 1], 0),
    "x[:, 0]": (lambda x: x[:, 0], 3),
    "x[:, -1, 1:, 1:]": (lambda x: x[:, -1, 1:, 1:], 2),
    "x[:, 1:, ::2, 3]": (lambda x: x[:, 1:, ::2, 3], 1),
    "x[..., None, 2:]": (lambda x: x[..., None, 2:][:, :, 0], 2),
    "x[..., ::-1]": (lambda x: x[..., ::-1], 3),
    "take one": (lambda x: ops.take(x, 2, axis=-1), 1),
    "take a list": (lambda x: ops.take(x, [5, 2, 2, 1], axis=-1), 1),
    "take rows": (lambda x: ops.take(x, [5, 1, 1], axis=1), 3),
    "take along rows": (
        lambda x: ops.take_along_axis(x, np.arange(18).reshape(1, 3, 6, 1) % 6, axis=1),
        3,
    ),
    "split channels": (lambda x: joined(ops.split(x, 3, axis=-1), 2, 0), 1),
    "split at": (lambda x: joined(ops.split(x, [1, 3], axis=-1), 2, 1), 2),
    "split rows": (lambda x: joined(ops.split(x, 2, axis=1), 1, 0), 3),
    "unstack channels": (lambda x: ops.unstack(x, axis=-1)[3] * ops.unstack(x, axis=-1)[0], 2),
    "unstack rows": (lambda x: ops.unstack(x, axis=1)[3], 3),
    "flip": (lambda x: ops.flip(x, axis=-1), 3),
    "flip both": (lambda x: ops.flip(x, axis=(1, 3)), 3),
    "roll channels": (lambda x: ops.roll(x, 2, axis=-1), 3),
    "roll space": (lambda x: ops.roll(x, (1, 2), axis=(1, 2)), 3),
    "repeat": (lambda x: ops.repeat(x, 2, axis=-1), 3),
    "repeat rows": (lambda x: ops.repeat(x, 2, axis=1), 3),
    "tile": (lambda x: ops.tile(x, (1, 1, 1, 2)), 3),
    "swap": (lambda x: ops.swapaxes(ops.relu(ops.swapaxes(x, 1, 3)), 1, 3), 3),
    "move": (lambda x: ops.moveaxis(ops.moveaxis(x, -1, 1), 1, -1), 3),
    "squeeze": (lambda x: ops.squeeze(ops.expand_dims(ops.expand_dims(x, -1), 1), (1, 5)), 3),
    "repeat vector": (lambda x: layers.RepeatVector(4)(layers.GlobalMaxPooling2D()(x)), 3),
}


@pytest.mark.parametrize("name", FOLLOWED)
def test_followed_exactly(name, caplog):
    move, left = FOLLOWED[name]
    assert filters(rebuilt(move, zeros=True)) == left
    rebuilt(move, zeros=False)
    assert "unknown layers" not in caplog.text


KEPT_WHOLE = {
    "Stack": lambda x: ops.reshape(ops.stack([x, 2 * x], axis=-1), (-1, 6, 6, 12)),
    "TakeAlongAxis": lambda x: ops.take_along_axis(
        x, np.arange(108).reshape(1, 6, 6, 3) % 6, axis=-1
    ),
    "Take": lambda x: layers.Reshape((6, 6, 4))(ops.take(x, [[1, 2], [3, 4]], axis=-1)),
    "Mean": lambda x: ops.mean(x, axis=-1),
    "Max": lambda x: ops.max(x, axis=1, initial=0.7),
    "Roll": lambda x: ops.roll(x, (1, 2), axis=(1, 3)),
}


@pytest.mark.parametrize("name", KEPT_WHOLE)
def test_kept_whole_and_named(name, caplog):
    rebuilt(KEPT_WHOLE[name], zeros=False)
    assert f"({name})" in caplog.text


def test_sizes_that_are_open():
    inputs = keras.Input((None, None, 3))
    x = gated(inputs, zeros=True)
    x = ops.flip(ops.roll(x[:, 1:, :, 1:5], 1, axis=2), axis=-1)
    x = layers.Dense(2)(layers.GlobalMaxPooling2D()(x))
    small = exactly_rebuilt(inputs, x, X, resources=())
    assert filters(small) == 2


def test_a_gate_behind_a_maximum_over_channels_does_not_reach_the_convolution():
    """W = C = 6: the gate's mask fits the convolution's channels, and means columns."""
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(6, 1, name="a")(inputs)
    gate = kn.layers.ScaledSigmoidGate()
    y = gate(ops.max(x, axis=-1))
    gate.set_mask([1, 0, 1, 1, 0, 0])
    small = exactly_rebuilt(inputs, head(y), X)
    assert filters(small) == 6


@pytest.mark.parametrize("zeros", [True, False])
def test_a_part_may_have_no_channel_at_all(zeros):
    inputs = keras.Input((6, 6, 3))
    whole, none = ops.split(gated(inputs, zeros=zeros), [6], axis=-1)
    exactly_rebuilt(inputs, head(layers.Concatenate()([none, whole, none])), X)
