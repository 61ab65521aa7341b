from __future__ import annotations

import inspect
import sys

import keras
import numpy as np
import pytest
from keras import layers

from keras_nas import gates
from keras_nas.errors import KerasNasError
from keras_nas.graph import read
from keras_nas.graph.copy import copy_graph
from keras_nas.layers import ScaledSigmoidGate
from tests.random_models import random_model, randomize


def copied(model):
    return copy_graph(read(model), lambda node, tensors: tensors, model.name)


def test_copy_equals_and_shares_nothing():
    model = random_model(3)
    randomize(model)
    twin = copied(model)
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    for a, b in zip(keras.tree.flatten(model(x)), keras.tree.flatten(twin(x)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not {id(v) for v in model.variables} & {id(v) for v in twin.variables}
    assert not {id(o) for o in model.layers} & {id(o) for o in twin.layers}


def test_initializers_survive_the_copy():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(2, kernel_initializer="he_normal", name="d")(inputs))
    assert type(copied(model).get_layer("d").kernel_initializer).__name__ == "HeNormal"


def test_own_activation_functions_are_handed_on():
    def swing(x):
        return keras.ops.sin(x)

    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(2, activation=swing, name="d")(inputs))
    assert copied(model).get_layer("d").activation is swing


def test_layer_without_a_usable_config_is_named():
    class Stubborn(layers.Layer):
        def __init__(self, width):
            super().__init__(name="stubborn")
            self.width = width

        def call(self, x):
            return x

    inputs = keras.Input((4,))
    with pytest.raises(KerasNasError, match=r"Layer 'stubborn' .* cannot be rebuilt"):
        copied(keras.Model(inputs, Stubborn(3)(inputs)))


def test_lambda_layers_are_handed_on():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Lambda(lambda x: x * 2, output_shape=(4,))(inputs))
    x = np.ones((1, 4), "float32")
    np.testing.assert_array_equal(copied(model)(x), x * 2)


def test_an_input_may_have_the_name_of_a_nested_layer():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="pixels")], name="inner")
    inputs = keras.Input((4,), name="pixels")
    model = keras.Model(inputs, layers.Dense(2, name="head")(inner(inputs)))
    twin = copied(model)
    assert [layer.name for layer in twin.layers] == ["pixels", "inner_pixels", "head"]
    x = np.random.default_rng(0).normal(size=(2, 4)).astype("float32")
    np.testing.assert_array_equal(model(x), twin(x))


def test_a_copy_may_be_deeper_than_the_interpreter_allows():
    inputs = x = keras.Input((1,))
    for _ in range(150):
        x = layers.Dense(1)(x)
    model = keras.Model(inputs, x)
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 220)
    try:
        supernet = gates.insert(model, ScaledSigmoidGate)
    finally:
        sys.setrecursionlimit(before)
    assert len(supernet.layers) == 1 + 150 + 149
    np.testing.assert_array_equal(supernet(np.ones((1, 1))), model(np.ones((1, 1))))
