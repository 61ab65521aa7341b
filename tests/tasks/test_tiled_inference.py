"""Tiles against whole images, and the receptive radius against what really changes."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers, ops

import keras_nas as kn
from keras_nas.errors import KerasNasError
from keras_nas.layers import ScaledSigmoidGate
from keras_nas.models import edsr
from keras_nas.tasks.receptive_field import receptive_radius
from keras_nas.tasks.tiled_inference import TiledInference


def random_weights(model):
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.2, w.shape).astype(w.dtype) for w in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def tiny_edsr():
    return random_weights(edsr(filters=4, blocks=2))


def random_image(height, width, channels=3):
    return np.random.default_rng(height + width).uniform(0, 1, (height, width, channels))


def whole(model, image):
    return np.asarray(model(image[np.newaxis].astype(np.float32), training=False))[0]


def model_of(*stack, channels=3):
    inputs = keras.Input((None, None, channels))
    x = inputs
    for layer in stack:
        x = layer(x)
    return random_weights(keras.Model(inputs, x))


def measured_radius(model, size=25):
    """How far a change of the central pixel is seen, per input pixel."""
    image = random_image(size, size, model.input_shape[-1])
    changed = image.copy()
    changed[size // 2, size // 2] += 10.0
    difference = np.abs(whole(model, image) - whole(model, changed)).max(axis=-1)
    scale = difference.shape[0] // size
    rows = np.flatnonzero(difference.max(axis=1)) // scale - size // 2
    columns = np.flatnonzero(difference.max(axis=0)) // scale - size // 2
    return max(np.abs(rows).max(), np.abs(columns).max())


def test_radius_of_edsr_by_hand():
    # Head 1, two convolutions a block, body 1, upsampler 1, and the tail at half pixels: 0.5.
    assert receptive_radius(edsr(filters=4, blocks=2)) == 8
    assert receptive_radius(edsr(filters=4, blocks=16)) == 36
    # ×4: a second upsampler at half pixels (0.5) and the tail at quarters (0.25).
    assert receptive_radius(edsr(scale=4, filters=4, blocks=1)) == 6


@pytest.mark.parametrize(
    ("stack", "radius"),
    [
        ([layers.Conv2D(2, 3, padding="same")], 1),
        ([layers.Conv2D(2, 5, padding="same"), layers.ReLU()], 2),
        ([layers.Conv2D(2, 3, padding="same", dilation_rate=2)], 2),
        ([layers.Conv2D(2, 4, padding="same")], 2),
        ([layers.DepthwiseConv2D(3, padding="same"), layers.Conv2D(2, 1)], 1),
        ([layers.SeparableConv2D(4, (3, 5), padding="same")], 2),
        ([layers.MaxPooling2D(3, 1, padding="same")], 1),
        ([layers.Conv2D(3, 3, padding="same"), ScaledSigmoidGate()], 1),
        ([layers.Conv2D(3, 3, padding="same"), layers.PReLU(shared_axes=[1, 2])], 1),
        ([layers.UpSampling2D(2), layers.Conv2D(2, 3, padding="same")], 1),
        ([layers.UpSampling2D(2, interpolation="bilinear")], 1),
        ([layers.Conv2DTranspose(2, 4, 2, padding="same")], 2),
    ],
)
def test_radius_is_no_less_than_what_really_changes(stack, radius):
    model = model_of(*stack)
    assert receptive_radius(model) == radius
    assert measured_radius(model) <= radius


def test_radius_of_edsr_is_what_really_changes(tiny_edsr):
    assert measured_radius(tiny_edsr) == receptive_radius(tiny_edsr) == 8


@given(height=st.integers(5, 60), width=st.integers(5, 60), tile=st.integers(1, 24))
@settings(max_examples=25)
def test_tiles_equal_the_whole_image_to_the_border(tiny_edsr, height, width, tile):
    image = random_image(height, width)
    expected = whole(tiny_edsr, image)
    result = TiledInference(tiny_edsr, tile)(image)
    assert result.shape == (2 * height, 2 * width, 3)
    np.testing.assert_allclose(result, expected, atol=2e-5 * np.abs(expected).max())


def test_too_small_an_overlap_gives_seams(tiny_edsr):
    image = random_image(40, 40)
    expected = whole(tiny_edsr, image)
    result = TiledInference(tiny_edsr, tile=10, overlap=1)(image)
    assert np.abs(result - expected).max() > 1e-2 * np.abs(expected).max()


def test_every_size_of_image_uses_one_trace():
    traces = []

    class Counted(layers.Layer):
        def call(self, x):
            traces.append(1)
            return x

    model = model_of(layers.Conv2D(2, 3, padding="same"), Counted())
    run = TiledInference(model, tile=8, overlap=1)
    built = len(traces)
    for height, width in [(30, 20), (9, 11), (5, 40)]:
        image = random_image(height, width)
        np.testing.assert_allclose(run(image), whole(model, image), atol=1e-5)
    traced = len(traces) - built - 3  # `whole` calls the model once an image
    assert traced == 1


def test_model_of_a_fixed_size_gets_windows_of_that_size(tiny_edsr):
    fixed = edsr(filters=4, blocks=2, input_shape=(24, 32, 3))
    fixed.set_weights(tiny_edsr.get_weights())
    image = random_image(40, 70)
    expected = whole(tiny_edsr, image)
    result = TiledInference(fixed)(image)
    np.testing.assert_allclose(result, expected, atol=2e-5 * np.abs(expected).max())
    with pytest.raises(KerasNasError, match="24 pixels or more along axis 0"):
        TiledInference(fixed)(random_image(20, 70))


def test_fixed_size_without_room_for_the_overlap_is_refused():
    with pytest.raises(KerasNasError, match="larger than twice the overlap"):
        TiledInference(edsr(filters=4, blocks=2, input_shape=(16, 16, 3)))


@pytest.mark.parametrize(
    "layer",
    [
        layers.Conv2D(2, 3, 2, padding="same"),
        layers.Conv2D(2, 3),
        layers.MaxPooling2D(),
        layers.GlobalAveragePooling2D(keepdims=True),
        layers.LayerNormalization(axis=(1, 2)),
        layers.Concatenate(axis=1),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layer_whose_reach_is_not_known_is_named(layer):
    inputs = keras.Input((32, 32, 3))
    x = layer([inputs, inputs] if isinstance(layer, layers.Concatenate) else inputs)
    with pytest.raises(KerasNasError, match=f"'{layer.name}'.*give `overlap`"):
        receptive_radius(keras.Model(inputs, x))


def test_constant_image_in_the_graph_is_not_taken_for_pointwise():
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, ops.add(inputs, np.ones((8, 8, 3), np.float32)))
    with pytest.raises(KerasNasError, match="give `overlap`"):
        receptive_radius(model)


@pytest.mark.parametrize("arguments", [{"tile": 0}, {"overlap": -1}])
def test_wrong_arguments_are_named(tiny_edsr, arguments):
    with pytest.raises(KerasNasError, match=f"`{next(iter(arguments))}` must be"):
        TiledInference(tiny_edsr, **arguments)


def test_model_that_does_not_enlarge_by_a_whole_number_is_refused():
    model = model_of(layers.Conv2D(2, 3))
    with pytest.raises(KerasNasError, match="enlarges by a whole number"):
        TiledInference(model, overlap=1)(random_image(16, 16))


def test_function_is_run_in_windows_of_the_given_size(tiny_edsr):
    shapes = set()

    def run(batch):
        shapes.add(batch.shape)
        return np.asarray(tiny_edsr(batch, training=False))

    image = random_image(50, 61)
    expected = whole(tiny_edsr, image)
    result = TiledInference(run, overlap=8, window=(24, 30))(image)
    np.testing.assert_allclose(result, expected, atol=2e-5 * np.abs(expected).max())
    assert shapes == {(1, 24, 30, 3)}
    with pytest.raises(KerasNasError, match="`overlap` must be given for a function"):
        TiledInference(run)


def test_gated_and_pruned_networks_run_in_tiles():
    supernet = kn.gates.insert(edsr(filters=8, blocks=2), ScaledSigmoidGate)
    random_weights(supernet)
    rng = np.random.default_rng(0)
    for gate in kn.gates.find(supernet):
        gate.set_mask(rng.random(gate.channels) > 0.4)
    small = kn.surgery.build(supernet, kn.Architecture.from_gates(supernet), align="pad")
    assert any(type(operation).__name__ == "Take" for operation in small.operations)
    image = random_image(40, 30)
    expected = whole(supernet, image)
    for model in (supernet, small):
        assert receptive_radius(model) == 8
        result = TiledInference(model, tile=9)(image)
        np.testing.assert_allclose(result, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("mixed", "radius"),
    [
        ({"activations": ("relu", "prelu", "tanh"), "entries": True}, 8),
        ({"kernels": (1, 3, 5), "activations": ("tanh",)}, 15),
        ({"types": ("depthwise",), "kernels": (3, 5)}, 15),
    ],
    ids=["activations", "kernels", "types"],
)
def test_mixed_networks_run_in_tiles(mixed, radius):
    """The 5×5 convolutions look one pixel further in each of the seven layers that are mixed."""
    supernet = random_weights(kn.gates.widen(edsr(filters=8, blocks=2), **mixed))
    for variable in supernet.trainable_variables:
        variable.assign(0.5 * variable)
    rng = np.random.default_rng(0)
    for gate in kn.gates.find(supernet):
        gate.set_mask(rng.random(gate.channels) > 0.4)
    architecture = kn.Architecture.from_gates(supernet)
    small = kn.surgery.build(supernet, architecture, align="pad")
    image = random_image(47, 40)
    expected = whole(supernet, image)
    for model in (supernet, small):
        assert measured_radius(model, 41) <= receptive_radius(model) == radius
        result = TiledInference(model, tile=9)(image)
        np.testing.assert_allclose(result, expected, atol=2e-5 * np.abs(expected).max())


def test_part_of_the_image_is_not_taken_for_part_of_the_channels():
    inputs = keras.Input((None, None, 6))
    assert receptive_radius(keras.Model(inputs, inputs[..., 2:5])) == 0
    assert receptive_radius(keras.Model(inputs, inputs[:, :, :, :3])) == 0
    for index in (inputs[:, 1:], inputs[:, :, ::2], inputs[:, ::-1, :, :3], inputs[0]):
        with pytest.raises(KerasNasError, match="give `overlap`"):
            receptive_radius(keras.Model(inputs, index))
