"""Mixed layers: the widened net is the original's, and surgery takes it apart exactly."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

import keras_nas as kn
from keras_nas.errors import KerasNasError
from keras_nas.regularizers import Resource
from tests.random_models import randomize

X = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")


def block_net(activation="relu", normalization=True) -> keras.Model:
    """3×3 → residual 3×3 → depthwise 3×3 (stride 2) → Dense, each with BatchNormalization."""
    inputs = keras.Input((8, 8, 3))

    def finish(x, name):
        if normalization:
            x = layers.BatchNormalization(name=f"{name}_bn")(x)
        return layers.Activation(activation, name=f"{name}_act")(x)

    bias = not normalization
    x = finish(layers.Conv2D(4, 3, padding="same", use_bias=bias, name="a")(inputs), "a")
    y = finish(layers.Conv2D(4, 3, padding="same", use_bias=bias, name="b")(x), "b")
    x = layers.Add(name="join")([x, y])
    x = layers.DepthwiseConv2D(3, 2, padding="same", use_bias=bias, name="c")(x)
    x = finish(x, "c")
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(3, name="head")(x))


def run(model):
    return np.asarray(model(X, training=False))


def check_surgery(supernet, seed=0, off=0.5):
    random = np.random.default_rng(seed)
    for gate in kn.gates.find(supernet):
        mask = random.random(gate.channels) >= off
        gate.set_mask(mask if random.random() > 0.2 else np.zeros_like(mask))
    architecture = kn.Architecture.from_gates(supernet, align="pad")
    small = kn.surgery.build(supernet, architecture, align="pad")
    expected = run(supernet)
    np.testing.assert_allclose(run(small), expected, atol=2e-5 * max(1, np.abs(expected).max()))
    counted = kn.costs.count(small)
    for what in ("params", "macs"):
        assert getattr(counted, what) == float(Resource(supernet, what)())
    return architecture, small


@pytest.mark.parametrize("activation", ["relu", "tanh", "relu6"])
@pytest.mark.parametrize("normalization", [True, False])
def test_widened_equals_the_original_with_its_operations_alone(activation, normalization):
    model = block_net(activation, normalization)
    randomize(model, 1)
    supernet = kn.gates.widen(model, kernels=(1, 5), original_only=True)
    np.testing.assert_allclose(run(supernet), run(model), atol=1e-5)
    assert {gate.mode for gate in kn.gates.find(supernet)} == {"soft"}


def test_activations_and_types_join_in():
    model = block_net()
    randomize(model, 1)
    supernet = kn.gates.widen(
        model, (1, 3), ("relu", "prelu", "tanh"), ("depthwise",), original_only=True
    )
    np.testing.assert_allclose(run(supernet), run(model), atol=1e-5)
    by_layer = {}
    for gate in kn.gates.find(supernet):
        by_layer.setdefault(gate.mixed_layer, []).append(gate.operation)
    assert len(by_layer["a"]) == 2 * 3  # 3 → 4 channels: no depthwise
    assert len(by_layer["b"]) == 4 * 3
    assert len(by_layer["c"]) == 2 * 3
    assert by_layer["a"][:3] == ["original", "original_prelu", "original_tanh"]
    assert "depthwise1x1_tanh" in by_layer["b"]


def test_each_convolution_is_there_once():
    supernet = kn.gates.widen(block_net(), (1, 3, 5), ("relu", "prelu", "tanh"))
    names = [layer.name for layer in supernet.layers if isinstance(layer, layers.Conv2D)]
    assert sorted(names) == sorted(["a", "a_conv1x1", "a_conv5x5", "b", "b_conv1x1", "b_conv5x5"])


@pytest.mark.parametrize("pretrained", [True, False])
def test_all_open_is_the_mean(pretrained):
    """Eq. (1): (the 3×3 + a 1×1 of ones) / 2; of trained weights M times the original's share."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(2, 3, padding="same", use_bias=False, name="a")(inputs)
    model = keras.Model(inputs, layers.Conv2D(1, 1, use_bias=False, name="out")(x))
    randomize(model, 0)
    supernet = kn.gates.widen(model, kernels=(1,), pretrained=pretrained)
    supernet.get_layer("a_conv1x1").kernel.assign(np.ones((1, 1, 3, 2)))
    if not pretrained:
        np.testing.assert_array_equal(supernet.get_layer("a").kernel, model.get_layer("a").kernel)
    once = np.asarray(model.get_layer("a")(X)) / (1 if pretrained else 2)
    other = np.repeat(X.sum(axis=-1, keepdims=True), 2, axis=-1)
    expected = np.asarray(model.get_layer("out")(once + other / 2))
    np.testing.assert_allclose(run(supernet), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "pretrained", "gamma", "factor"),
    [
        ({"kernels": (1, 3, 5)}, True, 3.0, None),  # M = 3, in BatchNormalization's weights
        ({"kernels": (1, 3, 5)}, False, 1.0, None),
        ({"kernels": (1, 3, 5), "activations": ("relu", "tanh")}, True, 1.0, 6.0),  # M = 6
        ({"kernels": (1, 3, 5), "activations": ("relu", "tanh")}, False, 1.0, None),
    ],
)
def test_the_original_stands_above_the_others_where_it_is_trained_alone(
    options, pretrained, gamma, factor
):
    supernet = kn.gates.widen(block_net(), **options, pretrained=pretrained)
    norms = [layer for layer in supernet.layers if isinstance(layer, layers.BatchNormalization)]
    gammas = {layer.name: set(np.asarray(layer.gamma).tolist()) for layer in norms}
    assert [gammas[f"{name}_bn"] for name in "abc"] == [{gamma}] * 3
    assert all(found == {1.0} for name, found in gammas.items() if "x" in name)
    assert len(gammas) == 9
    scales = [layer.scale for layer in supernet.layers if layer.name.endswith("_original_scale")]
    assert scales == ([] if factor is None else [factor] * 3)


@pytest.mark.parametrize("pretrained", [True, False])
@pytest.mark.parametrize("normalization", [True, False])
def test_surgery_equals_whatever_the_weights_are(pretrained, normalization):
    model = block_net("relu", normalization)
    supernet = kn.gates.widen(model, (1, 5), ("prelu",), pretrained=pretrained)
    randomize(supernet, 4)
    check_surgery(supernet, 4)


@pytest.mark.parametrize(
    "options",
    [
        {"kernels": (1, 5)},
        {"kernels": (1,), "activations": ("prelu", "tanh"), "types": ("depthwise",)},
        {"kernels": (5,), "entries": True},
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_surgery_keeps_live_pairs_only_and_equals(options, seed):
    model = block_net()
    supernet = kn.gates.widen(model, **options)
    randomize(supernet, seed)
    check_surgery(supernet, seed)


def test_dead_convolutions_go_and_live_ones_are_emitted_once():
    supernet = kn.gates.widen(block_net(), (1, 5), ("relu", "tanh"))
    randomize(supernet, 3)
    for gate in kn.gates.find(supernet):
        live = gate.operation in ("conv1x1_relu", "conv1x1_tanh", "depthwise1x1_tanh")
        gate.set_mask([live, live, False, live])
    architecture = kn.Architecture.from_gates(supernet)
    small = kn.surgery.build(supernet, architecture)
    convolutions = [layer.name for layer in small.layers if "conv" in type(layer).__name__.lower()]
    assert convolutions == ["a_conv1x1", "b_conv1x1", "c_depthwise1x1"]
    assert small.get_layer("a_conv1x1").filters == 3
    assert architecture.kept_operations["a"] == ["conv1x1_relu", "conv1x1_tanh"]
    np.testing.assert_allclose(run(small), run(supernet), atol=1e-5)


def test_the_mean_is_folded_where_that_is_exact():
    """After a stays the 1/M, since b's identity connection reads it beside b; after c it goes."""
    supernet = kn.gates.widen(block_net(), (1, 5), ("relu", "tanh"), original_only=True)
    randomize(supernet, 3)
    _, small = check_surgery(supernet, 3, off=0.3)
    scales = [layer.name for layer in small.layers if isinstance(layer, layers.Rescaling)]
    assert "c_mean" not in scales
    inputs = keras.Input((8, 8, 3))
    x = inputs
    for name in ("a", "b"):
        x = layers.Conv2D(4, 3, padding="same", use_bias=False, name=name)(x)
        x = layers.ReLU(name=f"{name}_relu")(layers.BatchNormalization(name=f"{name}_bn")(x))
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    supernet = kn.gates.widen(model, (1, 5), ("relu", "prelu"))
    randomize(supernet, 3)
    _, small = check_surgery(supernet, 3, off=0.3)
    scales = [layer.name for layer in small.layers if isinstance(layer, layers.Rescaling)]
    assert not [name for name in scales if name.endswith("_mean")]


def test_mix_chooses_the_convolutions():
    supernet = kn.gates.widen(block_net(), (1, 5), mix="depthwise")
    layers_of = {gate.name: gate.mixed_layer for gate in kn.gates.find(supernet)}
    assert list(layers_of.values()) == [None, None, "c", "c", "c"]
    assert list(layers_of)[:2] == ["a_gate", "b_gate"]


def test_entries_start_as_the_identity():
    model = block_net()
    randomize(model, 2)
    supernet = kn.gates.widen(model, entries=True)
    np.testing.assert_allclose(run(supernet), run(model), atol=1e-5)
    assert "b_entry_gate" in [gate.name for gate in kn.gates.find(supernet)]
    supernet.get_layer("b_entry_gate").set_mask([1, 0, 0, 1])
    small = kn.surgery.build(supernet, kn.Architecture.from_gates(supernet))
    assert small.get_layer("b").kernel.shape[-2] == 2
    np.testing.assert_allclose(run(small), run(supernet), atol=1e-5)


def test_saved_and_loaded(tmp_path):
    supernet = kn.gates.widen(block_net(), (1,), ("prelu",))
    supernet.save(tmp_path / "supernet.keras")
    loaded = keras.models.load_model(tmp_path / "supernet.keras")
    np.testing.assert_allclose(run(loaded), run(supernet), atol=1e-6)
    operations = [(gate.mixed_layer, gate.operation) for gate in kn.gates.find(supernet)]
    assert [(gate.mixed_layer, gate.operation) for gate in kn.gates.find(loaded)] == operations


def test_edsr_has_no_normalization():
    model = kn.models.edsr(input_shape=(8, 8, 3), filters=4, blocks=1)
    supernet = kn.gates.widen(model, activations=("relu", "prelu", "tanh"), original_only=True)
    np.testing.assert_allclose(run(supernet), run(model), atol=1e-4)
    randomize(supernet, 1)
    check_surgery(supernet, 1, off=0.3)


def test_refusals():
    with pytest.raises(KerasNasError, match="`kernels` must be odd numbers"):
        kn.gates.widen(block_net(), kernels=(2,))
    with pytest.raises(KerasNasError, match="`activations` must be of"):
        kn.gates.widen(block_net(), activations=("gelu",))
    with pytest.raises(KerasNasError, match="`types` must be of"):
        kn.gates.widen(block_net(), types=("grouped",))
