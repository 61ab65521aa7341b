"""EDSR as a .tflite: built-in operations, the Keras model's images, whole and in tiles."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data

from export.interpreter import Runner
from export.tflite import convert
from keras_nas.data.image_pairs import make_pair
from keras_nas.models import edsr
from keras_nas.tasks.receptive_field import receptive_radius
from keras_nas.tasks.super_resolution import evaluate_pairs
from keras_nas.tasks.super_resolution_evaluation import Enlarger


@pytest.fixture(scope="module")
def pair():
    """A part of scikit-image's photograph of an astronaut, and it at half the size."""
    return make_pair("astronaut", skimage.data.astronaut()[:160, 140:340], 2)


@pytest.fixture(scope="module")
def model():
    model = edsr(filters=8, blocks=2)
    rng = np.random.default_rng(0)
    model.set_weights([w + rng.normal(0, 0.05, w.shape) for w in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def fixed(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("tflite") / "edsr.tflite"
    return convert(model, path, input_shape=(1, 48, 48, 3))


def test_fixed_shape_gives_the_keras_models_image(model, fixed, pair):
    low = pair.low[None, :48, :48].astype(np.float32) / 255
    (output,) = Runner(fixed.path)([low])
    expected = np.asarray(model(low))
    assert output.shape == (1, 96, 96, 3)
    assert expected.std() > 0.05
    np.testing.assert_allclose(output, expected, atol=1e-5)


def test_file_has_built_in_operations_only(fixed):
    assert "DEPTH_TO_SPACE" in fixed.operators
    assert not any(name.startswith(("Flex", "CUSTOM")) for name in fixed.operators)


def test_dynamic_size_gives_the_keras_models_whole_image(model, pair, tmp_path):
    exported = convert(model, tmp_path / "dynamic.tflite", sizes=[pair.low.shape[:2], (30, 44)])
    runner = Runner(exported.path)
    for low in (pair.low, pair.low[:30, :44]):
        batch = low[None].astype(np.float32) / 255
        np.testing.assert_allclose(runner([batch])[0], np.asarray(model(batch)), atol=1e-5)


def test_fixed_file_scores_whole_images_in_tiles_as_the_keras_model_does(model, fixed, pair):
    runner = Runner(fixed.path)
    enlarge = Enlarger(
        lambda batch: runner([batch])[0], overlap=receptive_radius(model), window=(48, 48)
    )
    (expected,) = evaluate_pairs(model, [pair])
    (score,) = evaluate_pairs(enlarge, [pair])
    assert (score.psnr, score.ssim) == pytest.approx((expected.psnr, expected.ssim), abs=2e-3)
