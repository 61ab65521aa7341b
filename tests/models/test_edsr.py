"""EDSR: sizes that are open, the pixel shuffle, and the way to TFLite."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

import keras_nas.models as models
from keras_nas.errors import KerasNasError


@pytest.fixture(scope="module")
def small():
    return models.edsr(filters=6, blocks=2)


@pytest.fixture
def image():
    return np.random.default_rng(0).uniform(size=(1, 10, 7, 3)).astype("float32")


def test_baseline_has_the_params_of_edsr():
    model = models.edsr(scale=2, filters=64, blocks=16)
    assert model.count_params() == 1_369_859
    assert model.input_shape == model.output_shape == (None, None, None, 3)


@pytest.mark.parametrize(("scale", "shuffles"), [(2, 1), (3, 1), (4, 2)])
def test_enlarges_images_of_any_size(image, scale, shuffles):
    model = models.edsr(scale=scale, filters=4, blocks=1)
    assert model(image).shape == (1, 10 * scale, 7 * scale, 3)
    assert sum("shuffle" in operation.name for operation in model.operations) == shuffles


def test_pixel_shuffle_spreads_channels_over_squares():
    inputs = keras.Input((None, None, 8))
    from keras_nas.models.edsr import apply_upsample_block

    model = keras.Model(inputs, apply_upsample_block(inputs, 2, 2, name="up"))
    kernel = np.zeros((3, 3, 8, 8), "float32")
    kernel[1, 1] = np.eye(8)
    model.get_layer("up_conv").set_weights([kernel, np.zeros(8, "float32")])
    x = np.arange(2 * 3 * 8, dtype="float32").reshape(1, 2, 3, 8)
    expected = x.reshape(1, 2, 3, 2, 2, 2).transpose(0, 1, 3, 2, 4, 5).reshape(1, 4, 6, 2)
    np.testing.assert_array_equal(model(x), expected)


def test_mean_is_taken_away_and_given_back(image):
    """With the last convolution at 0, what comes out is the mean image."""
    model = models.edsr(filters=4, blocks=1, rgb_mean=[0.1, 0.2, 0.3], value_range=255.0)
    tail = model.get_layer("tail_conv")
    tail.set_weights([np.zeros_like(weight) for weight in tail.get_weights()])
    expected = np.broadcast_to(255 * np.array([0.1, 0.2, 0.3]), (1, 20, 14, 3))
    np.testing.assert_allclose(model(image), expected, rtol=1e-6)


def test_residual_scale_weakens_the_branch(image):
    inputs = keras.Input((None, None, 3))
    from keras_nas.models.edsr import apply_edsr_block

    outputs = [
        apply_edsr_block(inputs, 4, residual_scale, name=f"block{index}")
        for index, residual_scale in enumerate((1.0, 0.1))
    ]
    model = keras.Model(inputs, outputs)
    for layer in ("conv1", "conv2"):
        model.get_layer(f"block1_{layer}").set_weights(
            model.get_layer(f"block0_{layer}").get_weights()
        )
    whole, weakened = (np.asarray(output) - image for output in model(image))
    np.testing.assert_allclose(weakened, 0.1 * whole, atol=1e-6)


def test_widths():
    model = models.edsr(filters=8, blocks=3, inner_widths=[5, 6, 7], upsample_widths=[3])
    assert [model.get_layer(f"block{index}_conv1").filters for index in (1, 2, 3)] == [5, 6, 7]
    assert [model.get_layer(f"block{index}_conv2").filters for index in (1, 2, 3)] == [8, 8, 8]
    assert model.get_layer("upsample1_conv").filters == 12


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"scale": 5}, r"`scale` must be one of \[2, 3, 4\]. Received: scale=5"),
        ({"input_shape": (8, 8, 1)}, "`rgb_mean` must be None or"),
        ({"inner_widths": [64]}, "inner_widths is a list of 16"),
    ],
)
def test_arguments_that_do_not_fit(config, message):
    with pytest.raises(KerasNasError, match=message):
        models.edsr(**config)


def test_grey_images_need_no_mean():
    assert models.edsr(filters=4, blocks=1, input_shape=(8, 8, 1), rgb_mean=None).output_shape == (
        None, 16, 16, 1,
    )  # fmt: skip


def test_converts_to_builtin_ops_for_any_size(small, image, tmp_path):
    small.export(tmp_path, verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    interpreter = Interpreter(model_content=converter.convert())
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    for each in (image, image[:, :4, :5]):
        interpreter.resize_tensor_input(source["index"], each.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(source["index"], each)
        interpreter.invoke()
        np.testing.assert_allclose(
            interpreter.get_tensor(target["index"]), small(each), rtol=1e-4, atol=1e-5
        )
