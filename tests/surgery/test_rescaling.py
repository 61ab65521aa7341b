"""A Rescaling that only multiplies goes into weights before or behind it, where that is exact."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

import keras_nas as kn
from tests.random_models import randomize

X = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")


def rebuilt(model):
    randomize(model, 1)
    small = kn.surgery.build(model, None)
    expected = np.asarray(model(X))
    np.testing.assert_allclose(np.asarray(small(X)), expected, atol=1e-5 * np.abs(expected).max())
    return [layer.name for layer in small.layers if isinstance(layer, layers.Rescaling)]


def conv(x, name, **arguments):
    return layers.Conv2D(4, 3, padding="same", name=name, **arguments)(x)


@pytest.mark.parametrize(
    ("between", "stays"),
    [
        (lambda x: layers.Rescaling(0.25, name="scale")(layers.ReLU()(x)), False),
        (lambda x: layers.Rescaling([0.5, 2.0, 3.0, 0.1], name="scale")(x), False),
        (lambda x: layers.Rescaling(0.25, name="scale")(layers.Activation("tanh")(x)), False),
        (lambda x: layers.Rescaling(-0.25, name="scale")(x), True),
        (lambda x: layers.Rescaling(0.25, offset=0.5, name="scale")(x), True),
    ],
)
def test_between_two_convolutions(between, stays):
    inputs = keras.Input((8, 8, 3))
    x = layers.MaxPooling2D()(layers.ReLU()(between(conv(inputs, "a"))))
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(conv(x, "b"))))
    assert rebuilt(model) == (["scale"] if stays else [])


def test_behind_a_sum_it_goes_into_every_reader():
    inputs = keras.Input((8, 8, 3))
    x = layers.Add()([conv(inputs, "a", activation="tanh"), conv(inputs, "b", activation="relu")])
    x = layers.AveragePooling2D(2)(layers.Rescaling(0.5, name="scale")(x))
    x = layers.Concatenate()([conv(x, "c"), conv(x, "d")])
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    assert rebuilt(model) == []


def test_it_stays_where_a_reader_cannot_take_it():
    inputs = keras.Input((8, 8, 3))
    x = layers.Add()([conv(inputs, "a", activation="tanh"), conv(inputs, "b")])
    x = layers.Rescaling(0.5, name="scale")(x)
    x = layers.Add()([conv(x, "c"), x])
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    assert rebuilt(model) == ["scale"]


def test_the_rescaling_of_the_input_stays():
    inputs = keras.Input((8, 8, 3))
    x = layers.Rescaling(1 / 255, name="scale")(inputs)
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(conv(x, "a"))))
    assert rebuilt(model) == ["scale"]


def parted(x):
    """Two tensors whose factors nothing before them can take: a sum's, and a tanh's."""
    a = layers.Add()([conv(x, "a", activation="tanh"), conv(x, "b")])
    return a, layers.Activation("tanh")(conv(x, "c"))


def test_it_goes_through_a_concatenation_into_its_part_of_the_kernel():
    inputs = keras.Input((8, 8, 3))
    a, b = parted(inputs)
    x = layers.Concatenate()(
        [layers.Rescaling(0.5, name="first")(a), layers.Rescaling([2.0, 3, 5, 7], name="second")(b)]
    )
    x = layers.Concatenate()([conv(layers.ReLU()(x), "d"), conv(x, "e")])
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    assert rebuilt(model) == []


def test_it_goes_through_a_concatenation_that_reads_it_twice():
    inputs = keras.Input((8, 8, 3))
    a, b = parted(inputs)
    a = layers.Rescaling(0.5, name="scale")(a)
    x = conv(layers.Concatenate()([a, b, a]), "d")
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    assert rebuilt(model) == []


@pytest.mark.parametrize("axis", [1, 2])
def test_it_stays_before_a_concatenation_along_another_axis(axis):
    inputs = keras.Input((8, 8, 3))
    a, b = parted(inputs)
    x = layers.Concatenate(axis=axis)([layers.Rescaling(0.5, name="scale")(a), b])
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(conv(x, "d"))))
    assert rebuilt(model) == ["scale"]


def test_an_edge_before_a_concatenation_leaves_no_layer():
    inputs = keras.Input((8, 8, 3))
    a, b = parted(inputs)
    edges = [kn.layers.ScaledEdge(mode="hard", name=name) for name in ("first", "second")]
    x = layers.Concatenate()([edge(x) for edge, x in zip(edges, (a, b), strict=True)])
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(conv(x, "d"))))
    for edge, scale in zip(edges, (0.3, 0.7), strict=True):
        edge.scale.assign([scale])
    assert rebuilt(model) == []
