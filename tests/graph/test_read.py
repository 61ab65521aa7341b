from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_nas.errors import KerasNasError
from keras_nas.graph import read


def names(graph):
    return [node.name for node in graph.nodes]


def test_chain():
    inputs = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 3, name="conv")(inputs)
    graph = read(keras.Model(inputs, layers.ReLU(name="relu")(x)))
    assert names(graph) == ["conv", "relu"]
    conv, relu = graph.nodes
    assert conv.inputs == graph.inputs
    assert conv.outputs[0].shape == (None, 6, 6, 4)
    assert conv.outputs[0].channels == 4
    assert conv.outputs[0].readers == [relu]
    assert graph.outputs == relu.outputs
    assert graph.inputs[0].source == "image"


def test_shared_layer_is_one_operation_with_two_calls():
    a, b = keras.Input((4,)), keras.Input((4,))
    dense = layers.Dense(2, name="dense")
    graph = read(keras.Model([a, b], layers.Add(name="sum")([dense(a), dense(b)])))
    assert sorted(names(graph)) == ["dense", "dense_call1", "sum"]
    assert len(graph.calls()["dense"]) == 2


def test_nested_models_are_inlined_with_their_training_flag():
    inner_input = keras.Input((None, None, 3))
    inner = keras.Model(inner_input, layers.Dropout(0.5, name="drop")(inner_input), name="inner")
    inputs = keras.Input((8, 8, 3))
    graph = read(keras.Model(inputs, inner(inputs, training=False)))
    (node,) = graph.nodes
    assert node.name == "drop"
    assert node.kwargs["training"] is False
    assert node.outputs[0].shape == (None, 8, 8, 3)


def test_names_of_inlined_layers_stay_unique():
    def block(name):
        x = keras.Input((4,))
        return keras.Model(x, layers.Dense(4, name="dense")(x), name=name)

    inputs = keras.Input((4,))
    graph = read(keras.Model(inputs, block("b")(block("a")(inputs))))
    assert names(graph) == ["dense", "b_dense"]


def test_structures_of_inputs_and_outputs():
    a, b = keras.Input((2,), name="a"), keras.Input((2,), name="b")
    graph = read(keras.Model({"a": a, "b": b}, {"sum": a + b, "parts": [a * 2.0, b]}))
    assert list(graph.input_struct) == ["a", "b"]
    assert graph.output_struct["parts"][1] is graph.input_struct["b"]


def test_open_sizes_can_be_given():
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, layers.Conv2D(2, 3)(inputs))
    assert read(model).outputs[0].shape == (None, None, None, 2)
    assert read(model, (None, 10, 12, 3)).outputs[0].shape == (None, 8, 10, 2)
    with pytest.raises(KerasNasError, match="`input_shapes` must fit"):
        read(model, (None, 10, 12, 4))


def test_reading_leaves_the_model_alone():
    inputs = keras.Input((4,))
    dense = layers.Dense(2)
    model = keras.Model(inputs, ops.relu(dense(inputs)))
    read(model)
    assert len(dense._inbound_nodes) == 1


def test_refusals_say_why():
    class Mine(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(KerasNasError, match=r"functional or Sequential.*subclassed type Mine"):
        read(Mine(name="mine"))
    with pytest.raises(KerasNasError, match="has no input shape yet"):
        read(keras.Sequential([layers.Dense(2)]))


class Pair(layers.Layer):
    """A user's composite layer: two convolutions of its own, and an op between them."""

    def __init__(self, filters, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.first = layers.Conv2D(filters, 3, padding="same")
        self.second = layers.Conv2D(filters, 1)

    def build(self, input_shape):
        self.first.build(input_shape)
        self.second.build((*input_shape[:-1], self.filters))

    def call(self, x):
        return self.second(ops.relu(self.first(x)))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}


class Noisy(Pair):
    """A composite whose call does more than its layers do: it adds what changes every call."""

    def call(self, x):
        return super().call(x) + float(np.random.default_rng().normal())


def test_composite_layers_open_on_request():
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, Pair(4, name="pair")(inputs))
    assert names(read(model)) == ["pair"]
    kinds = [type(n.operation).__name__ for n in read(model, open_composites=True).nodes]
    assert kinds == ["Conv2D", "Relu", "Conv2D"]


def test_composite_that_does_more_stays_shut():
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, Noisy(4, name="noisy")(inputs))
    assert names(read(model, open_composites=True)) == ["noisy"]
