"""What a layer keeps beside its weights survives the copy, or the copy is refused by name."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from keras_nas.errors import KerasNasError
from keras_nas.graph import read
from keras_nas.graph.copy import copy_graph, renewed

NUMBERS = np.random.default_rng(0).normal(100, 50, (64, 3)).astype("float32")


def copied(model):
    return copy_graph(read(model), lambda node, tensors: tensors, model.name)


def model_of(layer, shape=(3,), dtype="float32"):
    inputs = keras.Input(shape, dtype=dtype)
    return keras.Model(inputs, layer(inputs))


def assert_equal(model, twin, x):
    for a, b in zip(keras.tree.flatten(model(x)), keras.tree.flatten(twin(x)), strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(a), ops.convert_to_numpy(b))


def adapted(layer, data):
    layer.adapt(data)
    return layer


class TestStatistics:
    @pytest.mark.parametrize("invert", [False, True])
    @pytest.mark.parametrize("axis", [-1, None])
    def test_an_adapted_normalization(self, axis, invert):
        model = model_of(adapted(layers.Normalization(axis=axis, invert=invert), NUMBERS))
        twin = copied(model)
        assert_equal(model, twin, NUMBERS)
        assert abs(np.mean(model(NUMBERS))) > 1000 if invert else np.mean(model(NUMBERS)) < 0.01

    def test_one_that_was_loaded_from_a_file(self, tmp_path):
        model_of(adapted(layers.Normalization(), NUMBERS)).save(tmp_path / "model.keras")
        model = keras.models.load_model(tmp_path / "model.keras")
        assert_equal(model, copied(model), NUMBERS)

    def test_given_statistics(self):
        layer = layers.Normalization(mean=[1.0, 2, 3], variance=[4.0, 5, 6])
        model = model_of(layer)
        assert_equal(model, copied(model), NUMBERS)

    def test_in_half_precision(self):
        model = model_of(adapted(layers.Normalization(dtype="mixed_float16"), NUMBERS))
        assert_equal(model, copied(model), NUMBERS)

    def test_bins(self):
        layer = adapted(layers.Discretization(num_bins=4, output_mode="one_hot"), NUMBERS[:, :1])
        model = model_of(layer, (1,))
        assert_equal(model, copied(model), NUMBERS[:, :1])

    def test_new_weights_leave_statistics_alone(self):
        inputs = keras.Input((3,))
        normalized = adapted(layers.Normalization(), NUMBERS)(inputs)
        model = keras.Model(inputs, layers.Dense(2, name="head")(normalized))
        twin = renewed(model)
        assert_equal(
            keras.Model(inputs, normalized), keras.Model(twin.input, twin.layers[1].output), NUMBERS
        )
        assert np.any(twin.get_layer("head").kernel != model.get_layer("head").kernel)


class TestTables:
    WORDS = np.array([["red"], ["blue"], ["pink"]])

    @pytest.mark.parametrize("mode", ["int", "one_hot", "multi_hot", "count"])
    def test_string_lookup(self, mode):
        layer = adapted(layers.StringLookup(output_mode=mode), np.array(["red", "red", "blue"]))
        model = model_of(layer, (1,), "string")
        assert_equal(model, copied(model), tf.constant(self.WORDS))

    def test_inverted_string_lookup(self):
        layer = adapted(layers.StringLookup(), np.array(["red", "blue"]))
        back = layers.StringLookup(vocabulary=layer.get_vocabulary(), invert=True)
        model = model_of(back, (1,), "int64")
        assert_equal(model, copied(model), np.array([[1], [2]]))

    def test_integer_lookup_with_a_mask(self):
        layer = adapted(layers.IntegerLookup(mask_token=0, num_oov_indices=2), np.array([7, 9, 9]))
        model = model_of(layer, (1,), "int64")
        assert_equal(model, copied(model), np.array([[9], [0], [5], [6]]))

    @pytest.mark.parametrize("mode", ["int", "tf_idf", "multi_hot"])
    def test_text_vectorization(self, mode):
        layer = adapted(layers.TextVectorization(output_mode=mode), ["red green red", "blue red"])
        model = model_of(layer, (1,), "string")
        assert_equal(model, copied(model), tf.constant([["red red"], ["blue pink"]]))

    def test_hashing_keeps_its_salt(self):
        model = model_of(layers.Hashing(50, salt=[7, 8]), (1,), "string")
        assert_equal(model, copied(model), tf.constant(self.WORDS))

    def test_one_that_keras_itself_would_lose_is_refused(self):
        layer = layers.StringLookup(vocabulary=["red", "blue"], name="colours")
        layer.set_vocabulary(["green", "pink"])
        with pytest.raises(KerasNasError, match=r"'colours' \(StringLookup\).*vocabulary"):
            copied(model_of(layer, (1,), "string"))


class TestRandomStates:
    @pytest.mark.parametrize("layer", [layers.Dropout(0.5), layers.GaussianNoise(1.0)])
    def test_the_copy_goes_on_where_the_layer_is(self, layer):
        model = model_of(layer)
        model(NUMBERS, training=True)
        twin = copied(model)
        np.testing.assert_array_equal(model(NUMBERS, training=True), twin(NUMBERS, training=True))

    def test_random_images(self):
        model = model_of(layers.RandomFlip(), (4, 4, 1))
        x = np.arange(64, dtype="float32").reshape(4, 4, 4, 1)
        model(x, training=True)
        twin = copied(model)
        np.testing.assert_array_equal(model(x, training=True), twin(x, training=True))


class Table(layers.Layer):
    """Adds a vector that is no variable; says so to Keras' protocol, or does not."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.table = np.zeros(3, "float32")

    def call(self, x):
        return x + self.table


class StoredTable(Table):
    def save_own_variables(self, store):
        super().save_own_variables(store)
        store["table"] = self.table

    def load_own_variables(self, store):
        self.table = store["table"][:]


class AssetTable(Table):
    def save_assets(self, folder):
        np.save(f"{folder}/table.npy", self.table)

    def load_assets(self, folder):
        self.table = np.load(f"{folder}/table.npy")


class Forgetful(layers.Layer):
    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x):
        return self.factor * x

    def get_config(self):
        return {"name": self.name}


class Counting(layers.Layer):
    """Counts its calls: it answers each time otherwise."""

    def build(self, shape):
        self.calls = self.add_weight(shape=(), trainable=False, initializer="zeros")

    def call(self, x):
        self.calls.assign_add(1.0)
        return x + self.calls


class TestLayersOfUsers:
    @pytest.mark.parametrize("kind", [StoredTable, AssetTable])
    def test_what_keras_would_save(self, kind):
        layer = kind()
        layer.table = np.array([1, 2, 3], "float32")
        model = model_of(layer)
        assert_equal(model, copied(model), NUMBERS)

    def test_what_keras_would_lose_is_refused(self):
        layer = Table(name="lost")
        layer.table = np.array([1, 2, 3], "float32")
        with pytest.raises(KerasNasError, match=r"Layer 'lost' \(Table\) keeps something"):
            copied(model_of(layer))

    def test_a_configuration_that_forgets_is_refused(self):
        with pytest.raises(KerasNasError, match=r"Layer 'f' \(Forgetful\).*get_config"):
            copied(model_of(Forgetful(2.0, name="f")))
        assert_equal(model_of(Forgetful(1.0)), copied(model_of(Forgetful(1.0))), NUMBERS)

    def test_comparing_changes_nothing(self):
        layer = Counting()
        model = model_of(layer)
        model(NUMBERS)
        twin = copied(model)
        assert float(layer.calls) == float(twin.layers[1].calls) == 1.0

    def test_frozen_parts_stay_frozen(self):
        layer = layers.MultiHeadAttention(1, 2)
        inputs = keras.Input((4, 3))
        model = keras.Model(inputs, layer(inputs, inputs))
        layer._query_dense.trainable = False
        twin = copied(model).layers[1]
        assert [v.trainable for v in twin.weights] == [v.trainable for v in layer.weights]
        assert not twin._query_dense.trainable
        assert twin._value_dense.trainable


class TestLora:
    def test_it_is_added_to_the_kernel(self):
        dense = layers.Dense(4)
        model = model_of(dense)
        dense.enable_lora(2)
        dense.lora_kernel_b.assign(np.ones((2, 4)))
        twin = copied(model)
        assert_equal(model, twin, NUMBERS)
        assert [v.name for v in twin.trainable_weights] == ["kernel", "bias"]

    def test_in_an_attention_layer(self):
        attention = layers.MultiHeadAttention(1, 2)
        inputs = keras.Input((4, 3))
        model = keras.Model(inputs, attention(inputs, inputs))
        attention._key_dense.enable_lora(1)
        attention._key_dense.lora_kernel_b.assign(np.ones(attention._key_dense.lora_kernel_b.shape))
        assert_equal(model, copied(model), NUMBERS.reshape(16, 4, 3))


class TestQuantizedLayers:
    @pytest.mark.parametrize("mode", ["int8", "int4", "float8"])
    def test_dense(self, mode):
        dense = layers.Dense(4, activation="relu")
        model = model_of(dense)
        dense.quantize(mode)
        assert_equal(model, copied(model), NUMBERS)

    def test_hidden_in_another_layer_is_refused(self):
        attention = layers.MultiHeadAttention(1, 2, name="heads")
        inputs = keras.Input((4, 3))
        model = keras.Model(inputs, attention(inputs, inputs))
        attention._key_dense.quantize("int8")
        with pytest.raises(KerasNasError, match=r"'heads'.*'key' in it is quantised \(int8\)"):
            copied(model)


class TestInputs:
    def test_options(self):
        inputs = [
            keras.Input((4,), batch_size=2, dtype="uint8", name="pixels"),
            keras.Input((4,), sparse=True, name="counts"),
            keras.Input((4,), optional=True, name="extra"),
        ]
        model = keras.Model(inputs, layers.Rescaling(0.5)(inputs[0]))
        twin = copied(model)
        assert [tensor._keras_history.operation.get_config() for tensor in twin.inputs] == [
            tensor._keras_history.operation.get_config() for tensor in model.inputs
        ]

    def test_ragged(self):
        inputs = keras.Input((None,), ragged=True, dtype="int64")
        assert copied(keras.Model(inputs, inputs)).inputs[0].ragged

    def test_an_optional_input_may_be_left_out(self):
        given, extra = keras.Input((3,), name="given"), keras.Input((3,), optional=True, name="e")

        class Maybe(layers.Layer):
            def call(self, x, y):
                return x if y is None else x + y

        model = keras.Model([given, extra], Maybe()(given, extra))
        assert_equal(model, copied(model), [NUMBERS, None])
        assert_equal(model, copied(model), [NUMBERS, NUMBERS])
