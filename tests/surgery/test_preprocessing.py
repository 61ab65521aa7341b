"""Preprocessing with statistics and tables of the data, through insert, masks and surgery."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_nas as kn
from keras_nas.layers import ScaledSigmoidGate
from tests.random_models import randomize

PIXELS = np.random.default_rng(0).normal(100, 50, (8, 6, 6, 3)).astype("float32")


def body(x, padding="same"):
    x = layers.Conv2D(8, 3, padding=padding, name="first")(x)
    x = layers.Conv2D(8, 3, padding="same", name="second")(layers.ReLU()(x))
    return layers.Dense(4, name="head")(layers.GlobalAveragePooling2D()(x))


def assert_exact(model, x, **options):
    """Gates off: equal bit by bit. Every second channel closed: surgery equals to rounding."""
    supernet = kn.gates.insert(model, ScaledSigmoidGate, **options)
    assert np.array_equal(supernet(x), model(x))
    for gate in kn.gates.find(supernet):
        gate.set_mask(np.arange(gate.channels) % 2 == 0)
    assert_surgery_is_exact(supernet, x)


def assert_surgery_is_exact(supernet, x):
    architecture = kn.Architecture.from_gates(supernet)
    small = kn.surgery.build(supernet, architecture, strict=True)
    expected = np.asarray(supernet(x), "float64")
    np.testing.assert_allclose(small(x), expected, atol=1e-5 * np.ptp(expected))
    costs = kn.costs.count(small)
    for name in ("macs", "params"):
        assert architecture.costs["after"][name] == getattr(costs, name)
    predicted = kn.surgery.predict_costs(supernet, architecture)
    assert predicted.state == costs.state
    return small


NORMALIZATIONS = {
    "adapted": {},
    "adapted as a whole": {"axis": None},
    "adapted by position": {"axis": (1, 2, 3)},
    "adapted by row": {"axis": 1},
    "inverted": {"invert": True},
    "given": {"mean": [90.0, 100, 110], "variance": [400.0, 900, 2500]},
    "given as a whole": {"mean": 90.0, "variance": 400.0},
    "given by row and channel": {"axis": (1, 3), "mean": [90.0, 9, 0], "variance": [4.0, 5, 6]},
}


@pytest.mark.parametrize("options", NORMALIZATIONS.values(), ids=NORMALIZATIONS)
def test_normalization_of_pixels(options):
    layer = layers.Normalization(**options)
    if "mean" not in options:
        layer.adapt(PIXELS)
    inputs = keras.Input((6, 6, 3))
    assert_exact(keras.Model(inputs, body(layer(inputs))), PIXELS)


@pytest.mark.parametrize("options", NORMALIZATIONS.values(), ids=NORMALIZATIONS)
def test_normalization_of_features_behind_a_gate(options):
    """Here its own channels are cut, and closed ones are constants of its making."""
    inputs = keras.Input((6, 6, 3))
    features = layers.Conv2D(3, 1, activation="relu", name="features")(inputs)
    gated = ScaledSigmoidGate(name="gate")(features)
    layer = layers.Normalization(**options)
    if "mean" not in options:
        layer.adapt(PIXELS)
    supernet = keras.Model(inputs, body(layer(gated), "valid"))
    supernet.get_layer("gate").set_mask([True, False, True])
    small = assert_surgery_is_exact(supernet, PIXELS)
    by_position = options.get("axis") in (1, (1, 2, 3))
    assert small.get_layer("features").filters == (3 if by_position else 2)


def test_a_normalization_from_a_file_in_half_precision(tmp_path):
    keras.config.set_dtype_policy("mixed_float16")
    layer = layers.Normalization()
    layer.adapt(PIXELS)
    inputs = keras.Input((6, 6, 3))
    keras.Model(inputs, body(layer(inputs))).save(tmp_path / "model.keras")
    model = keras.models.load_model(tmp_path / "model.keras")
    supernet = kn.gates.insert(model, ScaledSigmoidGate)
    np.testing.assert_array_equal(supernet(PIXELS), model(PIXELS))
    supernet.get_layer("first_gate").set_mask(np.arange(8) < 4)
    small = kn.surgery.build(supernet, kn.Architecture.from_gates(supernet))
    expected = np.asarray(supernet(PIXELS), "float64")
    np.testing.assert_allclose(small(PIXELS), expected, atol=2e-3 * np.ptp(expected))
    small.save(tmp_path / "small.keras")
    loaded = keras.models.load_model(tmp_path / "small.keras")
    np.testing.assert_array_equal(loaded(PIXELS), small(PIXELS))


def test_widening_keeps_statistics():
    layer = layers.Normalization()
    layer.adapt(PIXELS)
    inputs = keras.Input((6, 6, 3))
    model = keras.Model(inputs, body(layer(inputs)))
    supernet = kn.gates.widen(model, kernels=(1,), original_only=True)
    kn.gates.set_mode(supernet, "hard")
    np.testing.assert_allclose(supernet(PIXELS), model(PIXELS), atol=1e-4)


TABLES = {
    "words": (layers.StringLookup(output_mode="one_hot"), "string", [["red"], ["blue"]]),
    "numbers": (layers.IntegerLookup(output_mode="multi_hot"), "int64", [[3], [7]]),
    "text": (layers.TextVectorization(output_mode="tf_idf"), "string", [["red blue"], ["red"]]),
    "bins": (layers.Discretization(num_bins=2, output_mode="one_hot"), "float32", [[1.0], [9.0]]),
}


@pytest.mark.parametrize(("layer", "dtype", "values"), TABLES.values(), ids=TABLES)
def test_tables_beside_a_convolution(layer, dtype, values):
    values = tf.constant(values)
    layer.adapt(np.array(values.numpy().tolist()))
    image, word = keras.Input((6, 6, 3)), keras.Input((1,), dtype=dtype)
    code = layers.Flatten()(layer(word))
    model = keras.Model([image, word], layers.Concatenate()([body(image), code]))
    supernet = kn.gates.insert(model, ScaledSigmoidGate)
    x = [tf.constant(PIXELS[:2]), values]
    assert np.array_equal(supernet(x), model(x))
    for gate in kn.gates.find(supernet):
        gate.set_mask(np.arange(gate.channels) % 2 == 0)
    small = kn.surgery.build(supernet, kn.Architecture.from_gates(supernet))
    np.testing.assert_allclose(small(x), supernet(x), atol=1e-4)


@pytest.mark.parametrize("mode", ["int8", "int4", "float8"])
def test_a_quantised_head_keeps_its_inputs(mode, caplog):
    inputs = keras.Input((6, 6, 3))
    model = keras.Model(inputs, body(inputs))
    model.get_layer("head").quantize(mode)
    supernet = kn.gates.insert(model, ScaledSigmoidGate)
    assert np.array_equal(supernet(PIXELS), model(PIXELS))
    for gate in kn.gates.find(supernet):
        gate.set_mask(np.arange(gate.channels) % 2 == 0)
    small = kn.surgery.build(supernet, kn.Architecture.from_gates(supernet), align="pad")
    assert f"'head' (Dense, quantised to {mode})" in caplog.text
    expected = np.asarray(supernet(PIXELS))
    np.testing.assert_allclose(small(PIXELS), expected, atol=1e-4 * np.ptp(expected))
    assert small.get_layer("second").filters == 4


def test_a_quantised_layer_is_not_gated():
    inputs = keras.Input((6, 6, 3))
    model = keras.Model(inputs, layers.Dense(2)(body(inputs)))
    model.get_layer("head").quantize("int8")
    with pytest.raises(kn.KerasNasError, match=r"'head' \(Dense\) is quantised \(int8\).*prune"):
        kn.gates.insert(model, ScaledSigmoidGate, include="head")


@pytest.mark.parametrize("where", ["before insert", "after insert"])
def test_lora_is_cut_with_its_kernel(where):
    inputs = keras.Input((6, 6, 3))
    model = keras.Model(inputs, layers.Dense(3)(layers.ReLU()(body(inputs))))
    kinds = ["first", "second", "head"]
    supernet = model

    def enable(model):
        for name in kinds:
            model.get_layer(name).enable_lora(2)
        randomize(model)

    if where == "before insert":
        enable(model)
    supernet = kn.gates.insert(model, ScaledSigmoidGate, include=kinds)
    assert np.array_equal(supernet(PIXELS), model(PIXELS))
    if where == "after insert":
        enable(supernet)
    for gate in kn.gates.find(supernet):
        gate.set_mask(np.arange(gate.channels) % 2 == 0)
    small = assert_surgery_is_exact(supernet, PIXELS)
    assert not [v.path for v in small.weights if "lora" in v.name]


def test_widening_a_network_with_lora():
    inputs = keras.Input((6, 6, 3))
    model = keras.Model(inputs, body(inputs))
    model.get_layer("first").enable_lora(2)
    randomize(model)
    supernet = kn.gates.widen(model, kernels=(1,), original_only=True)
    kn.gates.set_mode(supernet, "hard")
    expected = np.asarray(model(PIXELS))
    np.testing.assert_allclose(supernet(PIXELS), expected, atol=1e-5 * np.ptp(expected))
