from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_nas as kn
from keras_nas.layers import ScaledSigmoidGate
from tests.random_models import randomize


def small_net() -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", use_bias=False, name="stem")(inputs)
    x = layers.BatchNormalization(name="stem_bn")(x)
    x = layers.ReLU(name="stem_relu")(x)
    y = layers.DepthwiseConv2D(3, padding="same", name="depth")(x)
    y = layers.Conv2D(4, 1, name="point")(y)
    x = layers.Add(name="join")([x, y])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(6, activation="relu", name="hidden")(x)
    return keras.Model(inputs, layers.Dense(2, name="logits")(x), name="net")


def before(model, name):
    """The layer whose output the gate reads."""
    node = next(n for n in kn.graph.read(model).nodes if n.name == name)
    return node.inputs[0].producer.name


@pytest.mark.parametrize(
    ("order", "place"),
    [
        ("conv_gate_bn_relu", "stem"),
        ("conv_bn_gate_relu", "stem_bn"),
        ("conv_bn_relu_gate", "stem_relu"),
    ],
)
def test_orders(order, place):
    supernet = kn.gates.insert(small_net(), ScaledSigmoidGate, order=order)
    assert before(supernet, "stem_gate") == place
    assert before(supernet, "point_gate") == "point"


def test_every_convolution_but_no_dense_by_default():
    supernet = kn.gates.insert(small_net(), ScaledSigmoidGate)
    found = kn.gates.find(supernet)
    assert [(g.name, g.channels, g.mode) for g in found] == [
        ("stem_gate", 4, "off"),
        ("depth_gate", 4, "off"),
        ("point_gate", 4, "off"),
    ]


def autoencoder() -> keras.Model:
    """Dense layers alone, as in MLPerf Tiny's detector of anomalies, with a bottleneck."""
    inputs = keras.Input((20,))
    x = inputs
    for index, width in enumerate((8, 8, 4, 8)):
        x = layers.Dense(width, name=f"dense{index}")(x)
        x = layers.ReLU()(layers.BatchNormalization(name=f"bn{index}")(x))
    return keras.Model(inputs, layers.Dense(20, name="decoded")(x), name="autoencoder")


def test_hidden_dense_layers_by_default_where_there_is_no_convolution():
    model = autoencoder()
    randomize(model)
    supernet = kn.gates.insert(model, ScaledSigmoidGate)
    found = kn.gates.find(supernet)
    assert [(g.name, g.channels) for g in found] == [
        ("dense0_gate", 8), ("dense1_gate", 8), ("dense2_gate", 4), ("dense3_gate", 8),
    ]  # fmt: skip
    assert before(supernet, "dense0_gate") == "bn0"
    for gate in found:
        gate.set_mask(np.arange(gate.channels) % 2 == 0)
    small = kn.surgery.build(supernet, kn.Architecture.from_gates(supernet))
    x = np.random.default_rng(0).normal(size=(4, 20)).astype("float32")
    np.testing.assert_allclose(small(x), supernet(x), atol=1e-4)
    assert small.get_layer("dense2").units == 2
    excluded = kn.gates.insert(model, ScaledSigmoidGate, exclude="dense2")
    assert len(kn.gates.find(excluded)) == 3


def test_dense_layers_whose_units_reach_the_output_are_not_hidden():
    inputs = keras.Input((6,))
    x = layers.Dense(5, activation="relu", name="features")(inputs)
    logits = layers.Dense(3, name="logits")(x)
    model = keras.Model(inputs, [layers.Softmax()(logits), layers.Rescaling(2.0)(logits)])
    found = kn.gates.find(kn.gates.insert(model, ScaledSigmoidGate))
    assert [g.name for g in found] == ["features_gate"]
    exposed = keras.Model(inputs, [logits, x])
    with pytest.raises(kn.KerasNasError, match=r"No layer of .* needs a convolution or Dense"):
        kn.gates.insert(exposed, ScaledSigmoidGate)


def test_dense_layers_behind_a_recurrent_one_are_hidden_too():
    inputs = keras.Input((6, 3))
    x = layers.Dense(5, activation="relu", name="hidden")(layers.LSTM(4)(inputs))
    model = keras.Model(inputs, layers.Dense(2)(x))
    found = kn.gates.find(kn.gates.insert(model, ScaledSigmoidGate))
    assert [g.name for g in found] == ["hidden_gate"]


def test_include_and_exclude():
    supernet = kn.gates.insert(small_net(), ScaledSigmoidGate, include=["hid*", "stem"])
    assert [g.name for g in kn.gates.find(supernet)] == ["stem_gate", "hidden_gate"]
    supernet = kn.gates.insert(small_net(), ScaledSigmoidGate, exclude="depth")
    assert [g.name for g in kn.gates.find(supernet)] == ["stem_gate", "point_gate"]


def test_logits_are_never_gated():
    with pytest.raises(kn.KerasNasError, match="No layer of 'net' can be gated"):
        kn.gates.insert(small_net(), ScaledSigmoidGate, include="logits")


def test_logits_of_a_fully_convolutional_net_are_never_gated():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="body")(inputs)
    x = layers.Conv2D(2, 1, name="head")(x)
    model = keras.Model(inputs, layers.Activation("softmax")(layers.UpSampling2D()(x)))
    found = kn.gates.find(kn.gates.insert(model, ScaledSigmoidGate))
    assert [g.name for g in found] == ["body_gate"]


def test_squeeze_and_excitation_is_left_alone_unless_named():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="conv")(inputs)
    s = layers.GlobalAveragePooling2D(keepdims=True)(x)
    s = layers.Conv2D(2, 1, activation="relu", name="se_reduce")(s)
    s = layers.Conv2D(4, 1, activation="sigmoid", name="se_expand")(s)
    x = layers.Flatten()(layers.Multiply()([x, s]))
    model = keras.Model(inputs, layers.Dense(2)(x))
    found = kn.gates.find(kn.gates.insert(model, ScaledSigmoidGate))
    assert [g.name for g in found] == ["conv_gate"]
    found = kn.gates.find(kn.gates.insert(model, ScaledSigmoidGate, include="se_*"))
    assert [g.name for g in found] == ["se_reduce_gate", "se_expand_gate"]


def test_model_is_untouched_and_equal_while_gates_are_off():
    model = small_net()
    randomize(model)
    weights = [w.copy() for w in model.get_weights()]
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
    expected = np.asarray(model(x))
    supernet = kn.gates.insert(model, ScaledSigmoidGate)
    np.testing.assert_array_equal(supernet(x), expected)
    kn.gates.set_mode(supernet, "soft")
    assert np.abs(np.asarray(supernet(x)) - expected).max() > 1e-3
    for variable in supernet.variables:
        variable.assign(keras.ops.zeros_like(variable))
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_shared_convolution_has_one_gate():
    inputs = keras.Input((8, 8, 3))
    conv = layers.Conv2D(3, 3, padding="same", name="conv")
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(conv(conv(inputs)))))
    supernet = kn.gates.insert(model, ScaledSigmoidGate)
    (gate,) = kn.gates.find(supernet)
    assert len(kn.graph.read(supernet).calls()[gate.name]) == 2


def test_arguments_of_the_gate_by_partial_and_mixed_precision():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, dtype="mixed_float16", name="conv")(inputs)
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    supernet = kn.gates.insert(model, functools.partial(ScaledSigmoidGate, penalty=0.5))
    (gate,) = kn.gates.find(supernet)
    assert gate.penalty == 0.5
    assert gate.compute_dtype == "float16"


def test_sequential_model():
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(2)]
    )
    assert len(kn.gates.find(kn.gates.insert(model, ScaledSigmoidGate))) == 1


def test_refusals():
    with pytest.raises(kn.KerasNasError, match="`order` must be one of"):
        kn.gates.insert(small_net(), ScaledSigmoidGate, order="bn_conv")
    with pytest.raises(kn.KerasNasError, match="`include` pattern 'nothing' fits no"):
        kn.gates.insert(small_net(), ScaledSigmoidGate, include="nothing")


def test_apply_sets_masks_and_refuses_strangers():
    supernet = kn.gates.insert(small_net(), ScaledSigmoidGate)
    kept = kn.Architecture(kept_channels={"stem_gate": [1, 3]}, channels={"stem_gate": 4})
    kn.gates.apply(supernet, kept)
    stem, depth, _ = kn.gates.find(supernet)
    assert stem.mask().tolist() == [False, True, False, True]
    assert (stem.mode, depth.mode) == ("hard", "off")
    with pytest.raises(kn.KerasNasError, match="lacks"):
        kn.gates.apply(supernet, kn.Architecture({"other": [0]}, {"other": 4}))
    with pytest.raises(kn.KerasNasError, match="of gate 'stem_gate', which has 4"):
        kn.gates.apply(supernet, kn.Architecture({"stem_gate": [4]}, {"stem_gate": 4}))


FIRST = {"data_format": "channels_first"}


def first_network():
    inputs = x = keras.Input((3, 8, 8))
    for n in range(4):
        x = layers.Conv2D(8, 3, padding="same", name=f"c{n}", **FIRST)(x)
        x = layers.ReLU()(layers.BatchNormalization(axis=1)(x))
    x = layers.GlobalAveragePooling2D(**FIRST)(layers.MaxPooling2D(2, **FIRST)(x))
    return keras.Model(inputs, layers.Dense(4)(x), name="first")


def mixed_network():
    """A main way of channels last, as wide and high as it has channels, with a side way."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same", name="main")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(axis=1)(x))
    side = layers.Conv2D(8, 3, padding="same", name="side", **FIRST)(x)
    side = layers.AveragePooling2D(3, 1, padding="same", **FIRST)(side)
    side = layers.BatchNormalization(axis=2)(layers.LayerNormalization(axis=1)(side))
    x = layers.Conv2D(8, 3, padding="same", name="last")(layers.Add()([x, side]))
    x = layers.AveragePooling2D(3, 1, padding="same", **FIRST)(x)
    return keras.Model(inputs, layers.Dense(4)(layers.Flatten()(x)), name="mixed")


def answers(model, x):
    """By XLA, which convolves channels-first on every CPU; TensorFlow's kernels need oneDNN's."""
    return np.asarray(tf.function(model, jit_compile=True)(x))


@pytest.mark.parametrize(
    "gated",
    [
        lambda model: kn.gates.insert(model, ScaledSigmoidGate),
        lambda model: kn.gates.insert(model, ScaledSigmoidGate, include="c1"),
        lambda model: kn.gates.widen(model, kernels=[5]),
    ],
)
def test_network_of_channels_first_is_refused_in_one_line(gated):
    with pytest.raises(kn.KerasNasError, match=r"'first'.*channels_first.*c1.*channels_last") as e:
        gated(first_network())
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("order", ["conv_bn_gate_relu", "conv_gate_bn_relu", "conv_bn_relu_gate"])
def test_layer_amid_others_stays_whole_and_is_named(order, caplog):
    model = mixed_network()
    randomize(model)
    supernet = kn.gates.insert(model, ScaledSigmoidGate, order=order)
    assert "side" in caplog.text
    assert [gate.name for gate in kn.gates.find(supernet)] == ["main_gate", "last_gate"]
    for gate in kn.gates.find(supernet):
        gate.set_mask([1, 0, 1, 1, 0, 0, 1, 0])
    small = kn.surgery.build(supernet, kn.Architecture.from_gates(supernet))
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    a, b = answers(supernet, x), answers(small, x)
    np.testing.assert_allclose(b, a, rtol=0, atol=1e-5 * np.ptp(a))
    assert "'side' (Conv2D)" in caplog.text
    assert small.get_layer("side").kernel.shape == (3, 3, 8, 8)


def test_included_layer_of_channels_first_is_an_error():
    with pytest.raises(kn.KerasNasError, match=r"channels_first.*side"):
        kn.gates.insert(mixed_network(), ScaledSigmoidGate, include=["main", "side"])
