"""Counting whole models: little graphs, with the sums by hand."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_nas as kn
from keras_nas.costs import Costs, LayerCosts, count
from keras_nas.errors import KerasNasError


@pytest.fixture(scope="module")
def branched():
    """
    image 8·8·3 ─ a: conv 3×3, 4 ─ a_bn ─┬─ b: depthwise 3×3 ─┐
                                         └────────────────────┴─ add ─ pool ─ logits 10
    """
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", use_bias=False, name="a")(image)
    x = layers.BatchNormalization(name="a_bn")(x)
    y = layers.DepthwiseConv2D(3, padding="same", name="b")(x)
    x = layers.Add(name="add")([x, y])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(10, name="logits")(x), name="branched")


def test_totals_and_layers(branched):
    costs = count(branched)
    macs = {"a": 64 * 4 * 27, "a_bn": 0, "b": 64 * 4 * 9, "add": 0, "pool": 0, "logits": 40}
    params = {"a": 4 * 27, "a_bn": 8, "b": 4 * 9 + 4, "add": 0, "pool": 0, "logits": 50}
    assert {name: layer.macs for name, layer in costs.by_layer.items()} == macs
    assert {name: layer.params for name, layer in costs.by_layer.items()} == params
    assert list(costs.by_layer) == list(macs)
    assert costs.macs == sum(macs.values())
    assert costs.flops == 2 * costs.macs
    assert costs.params == sum(params.values()) == branched.count_params() - 8
    assert costs.state == 8
    assert costs.uncounted == ()


def test_memory(branched):
    costs = count(branched)
    written = 4 * (256 + 256 + 256 + 256 + 4 + 10)
    assert costs.activation_memory == written
    reads = 4 * (192 + 256 + 256 + 512 + 256 + 4)
    assert costs.memory_access == written + reads + 4 * (costs.params + costs.state)


def test_shared_layers_count_params_once_and_macs_each_call():
    """x 5 ─ dense 5 ─ dense 5 (the same) ─ dense 5 (the same)"""
    x = inputs = keras.Input((5,))
    dense = layers.Dense(5, name="dense")
    for _ in range(3):
        x = dense(x)
    costs = count(keras.Model(inputs, x))
    assert costs.macs == 3 * 25
    assert costs.params == 30
    assert list(costs.by_layer) == ["dense", "dense_call1", "dense_call2"]
    assert [layer.params for layer in costs.by_layer.values()] == [30, 0, 0]
    assert costs.memory_access == 3 * 4 * (5 + 5 + 30)


def test_nested_models_are_looked_into(branched):
    image = keras.Input((8, 8, 3))
    wrapped = keras.Model(image, layers.Softmax(name="softmax")(branched(image)))
    inner, outer = count(branched), count(wrapped)
    assert outer.macs == inner.macs
    assert outer.params == inner.params
    assert list(outer.by_layer) == [*inner.by_layer, "softmax"]


def test_layers_made_of_layers_are_looked_into():
    class Twice(layers.Layer):
        def __init__(self, units, **kwargs):
            super().__init__(**kwargs)
            self.units = units
            self.first, self.second = layers.Dense(units), layers.Dense(units)

        def call(self, inputs):
            return self.second(ops.relu(self.first(inputs)))

        def get_config(self):
            return {**super().get_config(), "units": self.units}

    inputs = keras.Input((5,))
    model = keras.Model(inputs, Twice(7)(inputs))
    costs = count(model)
    assert costs.uncounted == ()
    assert costs.macs == 35 + 49
    assert costs.params == model.count_params() == 42 + 56


def test_sequential_models():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dense(2)])
    assert count(model).macs == 18


def test_gates_cost_nothing(branched):
    supernet = kn.gates.insert(branched, kn.layers.ScaledSigmoidGate)
    assert kn.gates.find(supernet)
    assert count(supernet) == count(branched)


def test_frozen_layers_keep_their_params(branched):
    frozen = keras.models.clone_model(branched)
    frozen.trainable = False
    assert count(frozen).params == count(branched).params


def test_mixed_precision_halves_the_activations(branched):
    keras.config.set_dtype_policy("mixed_float16")
    half = kn.models.small_vgg()
    keras.config.set_dtype_policy("float32")
    whole = kn.models.small_vgg()
    assert count(half).params == count(whole).params
    assert count(half).macs == count(whole).macs
    logits = 10
    assert count(whole).activation_memory == 2 * count(half).activation_memory - 4 * logits


def test_costs_are_those_of_batch_one(branched):
    fixed = keras.Input((8, 8, 3), batch_size=5)
    costs = count(keras.Model(fixed, branched(fixed)))
    assert costs.macs == 5 * count(branched).macs
    assert costs.params == count(branched).params


def test_batch_that_moves_to_another_axis_counts_once():
    """x 6·4, the batch folded into the rows and unfolded again, as window attention does."""
    inputs = keras.Input((6, 4))
    x = ops.reshape(inputs, (-1, 4))
    x = layers.Dense(3, name="dense")(x)
    x = ops.reshape(x, (-1, 6, 3))
    assert count(keras.Model(inputs, x)).macs == 6 * 12


@pytest.fixture(scope="module")
def convolution():
    image = keras.Input((None, None, 3), name="image")
    conv = layers.Conv2D(4, 3, padding="same", name="conv")
    return keras.Model(image, conv(image), name="open")


class TestOpenSizes:
    def test_are_given(self, convolution):
        assert count(convolution, input_shapes=(5, 6, 3)).macs == 30 * 4 * 27
        assert count(convolution, input_shapes=[(5, 6, 3)]).macs == 30 * 4 * 27
        assert count(convolution, input_shapes={"image": (5, 6, 3)}).macs == 30 * 4 * 27

    def test_are_an_error_that_names_the_input(self, convolution):
        with pytest.raises(KerasNasError, match=r"input 'image' of model 'open' leaves open"):
            count(convolution)

    def test_must_all_be_given(self, convolution):
        with pytest.raises(KerasNasError, match=r"leaves open.*\(5, None, 3\)"):
            count(convolution, input_shapes=(5, None, 3))

    @pytest.mark.parametrize("shapes", [(5, 6, 4), (5, 6), [(5, 6, 3), (5, 6, 3)]])
    def test_must_fit(self, convolution, shapes):
        with pytest.raises(KerasNasError, match="`input_shapes` must"):
            count(convolution, input_shapes=shapes)

    def test_must_name_an_input(self, convolution):
        with pytest.raises(KerasNasError, match=r"'photo'"):
            count(convolution, input_shapes={"photo": (5, 6, 3)})

    def test_several_inputs(self):
        first, second = keras.Input((None,), name="first"), keras.Input((4,), name="second")
        model = keras.Model([first, second], layers.Concatenate()([first, second]))
        assert count(model, input_shapes={"first": (6,)}).activation_memory == 4 * 10
        assert count(model, input_shapes=[(5,), (4,)]).activation_memory == 4 * 9


def test_subclassed_models_are_refused():
    class Subclassed(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(KerasNasError, match="subclassed type Subclassed"):
        count(Subclassed())


def test_sequential_without_shape_is_refused():
    with pytest.raises(KerasNasError, match="no input shape yet"):
        count(keras.Sequential([layers.Dense(3)]))


def test_what_is_not_counted_is_named():
    inputs = keras.Input((6, 4))
    x = layers.LSTM(5, name="memory")(inputs)
    costs = count(keras.Model(inputs, layers.Dense(2, name="logits")(x)))
    assert costs.uncounted == ("memory",)
    assert costs.macs == 10
    assert str(costs).endswith("; macs not known and left out: memory")


def test_counting_leaves_the_model_as_it_was(branched):
    before = [weight.numpy() for weight in branched.weights]
    config = branched.get_config()
    count(branched)
    assert branched.get_config() == config
    for weight, value in zip(branched.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)


class TestCosts:
    costs = Costs.from_layers(
        {
            "a": LayerCosts(1_000_000, 200, 10, 4000, 5000),
            "b": LayerCosts(500_000, 100, 0, 3, 5000, counted=False),
        },
        peak_activation_memory=4003,
    )

    def test_from_layers_sums(self):
        assert (self.costs.macs, self.costs.flops) == (1_500_000, 3_000_000)
        assert (self.costs.params, self.costs.state) == (300, 10)
        assert (self.costs.activation_memory, self.costs.memory_access) == (4003, 10_000)
        assert self.costs.uncounted == ("b",)

    def test_prints_one_line(self):
        assert str(self.costs) == (
            "1.50 M macs, 3.00 M flops, 300 params, 4.00 kB activations (peak 4.00 kB), "
            "10.00 kB memory access; macs not known and left out: b"
        )

    def test_a_long_list_is_cut(self):
        unknown = {f"layer{index}": LayerCosts(counted=False) for index in range(5)}
        text = str(Costs.from_layers(unknown, 0))
        assert text.endswith("left out: layer0, layer1, layer2 and 2 more")

    def test_as_dict_survives_json(self):
        totals = self.costs.as_dict()
        assert json.loads(json.dumps(totals)) == totals
        assert totals == {
            "macs": 1_500_000, "flops": 3_000_000, "params": 300, "state": 10,
            "activation_memory": 4003, "peak_activation_memory": 4003,
            "memory_access": 10_000, "uncounted": ["b"],
        }  # fmt: skip

    def test_is_frozen(self):
        with pytest.raises(AttributeError):
            self.costs.macs = 1
