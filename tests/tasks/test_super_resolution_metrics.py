"""PSNR and SSIM on luma against scikit-image, hand-worked values, and as Keras metrics."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import skimage.color
import skimage.metrics
import tensorflow as tf

from keras_nas.errors import KerasNasError
from keras_nas.tasks.super_resolution_metrics import PsnrY, SsimY, psnr_y, rgb_to_y, ssim_y


def smooth_image(seed, shape=(40, 50, 3)):
    rng = np.random.default_rng(seed)
    return tf.image.resize(rng.uniform(0, 255, (8, 10, 3)), shape[:2]).numpy().astype(np.uint8)


def noisy(image, seed, sigma=6.0):
    noise = np.random.default_rng(seed).normal(0, sigma, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def skimage_luma(image, shave):
    luma = skimage.color.rgb2ycbcr(image)[..., 0]
    return luma[shave : luma.shape[0] - shave, shave : luma.shape[1] - shave]


@pytest.mark.parametrize(
    ("rgb", "luma"),
    [
        ((0, 0, 0), 16.0),
        ((255, 255, 255), 235.0),
        ((255, 0, 0), 81.481),
        ((0, 255, 0), 144.553),
        ((0, 0, 255), 40.966),
    ],
)
def test_luma_of_the_corners_of_the_colour_cube(rgb, luma):
    np.testing.assert_allclose(rgb_to_y(np.array([[rgb]], np.uint8)), [[[luma]]], rtol=1e-6)


def test_luma_equals_scikit_images():
    image = smooth_image(0)
    np.testing.assert_allclose(rgb_to_y(image)[..., 0], skimage_luma(image, 0), atol=1e-4)


@pytest.mark.parametrize("shave", [0, 2, 4])
@pytest.mark.parametrize("value_range", [1.0, 255.0])
def test_measures_equal_scikit_images(shave, value_range):
    truth = smooth_image(1)
    prediction = noisy(truth, 2)
    pair = [(x.astype(np.float32) * value_range / 255)[None] for x in (truth, prediction)]
    lumas = skimage_luma(truth, shave), skimage_luma(prediction, shave)
    psnr = skimage.metrics.peak_signal_noise_ratio(*lumas, data_range=255)
    ssim = skimage.metrics.structural_similarity(
        *lumas, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    np.testing.assert_allclose(psnr_y(*pair, shave, value_range), [psnr], rtol=1e-5)
    np.testing.assert_allclose(ssim_y(*pair, shave, value_range), [ssim], rtol=1e-4)


def test_psnr_of_one_grey_level_everywhere_by_hand():
    truth = np.full((1, 16, 16, 3), 100, np.float32)
    # A step of 1 in R, G and B moves luma by 219 / 255.
    expected = 20 * np.log10(255 / (219 / 255))
    np.testing.assert_allclose(psnr_y(truth, truth + 1, 2, 255.0), [expected], rtol=1e-5)


def test_border_is_left_out():
    truth = smooth_image(3)[None].astype(np.float32)
    prediction = truth.copy()
    prediction[:, :2] = 255 - prediction[:, :2]
    prediction[:, :, -2:] = 255 - prediction[:, :, -2:]
    assert np.isinf(psnr_y(truth, prediction, 2, 255.0))
    assert float(ssim_y(truth, prediction, 2, 255.0)[0]) == pytest.approx(1.0, abs=1e-6)
    assert np.isfinite(psnr_y(truth, prediction, 1, 255.0))


def test_prediction_is_measured_as_it_would_be_saved():
    truth = np.full((1, 16, 16, 3), 1.0, np.float32)
    # 1.3 is saved as white, and 0.4 of a grey level is lost in the rounding.
    assert np.isinf(psnr_y(truth, truth + 0.3))
    assert np.isinf(psnr_y(truth * 0, truth * 0 + 0.4 / 255))


def test_grey_image_is_its_own_luma():
    truth = smooth_image(4)[..., :1].astype(np.float32)
    prediction = noisy(smooth_image(4), 5)[..., :1].astype(np.float32)
    expected = skimage.metrics.peak_signal_noise_ratio(truth, prediction, data_range=255)
    np.testing.assert_allclose(psnr_y(truth[None], prediction[None], 0, 255.0), [expected], 1e-5)


def test_other_channel_counts_are_refused():
    with pytest.raises(KerasNasError, match="1 or 3 channels"):
        psnr_y(np.zeros((1, 16, 16, 4)), np.zeros((1, 16, 16, 4)))


@pytest.mark.parametrize(("metric", "function"), [(PsnrY, psnr_y), (SsimY, ssim_y)])
def test_metric_is_the_mean_over_images(metric, function):
    truth = np.stack([smooth_image(seed) for seed in range(4)]) / np.float32(255)
    prediction = np.clip(truth + np.random.default_rng(0).normal(0, 0.02, truth.shape), 0, 1)
    values = function(truth, prediction, 2).numpy()
    meter = metric(scale=2)
    meter.update_state(truth[:3], prediction[:3])
    meter.update_state(truth[3:], prediction[3:])
    assert float(meter.result()) == pytest.approx(values.mean(), rel=1e-6)
    meter.reset_state()
    meter.update_state(truth, prediction, sample_weight=[1, 0, 0, 1])
    assert float(meter.result()) == pytest.approx((values[0] + values[3]) / 2, rel=1e-6)


@pytest.mark.parametrize("metric", [PsnrY, SsimY])
def test_metric_survives_its_config(metric):
    meter = metric(scale=3, value_range=255.0)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(meter))
    assert type(copy) is metric
    assert copy.get_config() == meter.get_config()
    assert (copy.scale, copy.value_range, copy.name) == (3, 255.0, meter.name)


def test_metrics_of_a_compiled_model_in_half_precision():
    keras.config.set_dtype_policy("mixed_float16")
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, keras.layers.Rescaling(1.0)(inputs))
    model.compile(loss="mae", metrics=[PsnrY(2), SsimY(2)])
    truth = np.stack([smooth_image(seed) for seed in range(2)]) / np.float32(255)
    noise = np.random.default_rng(1).normal(0, 0.05, truth.shape).astype(np.float32)
    results = model.evaluate(truth + noise, truth, batch_size=1, verbose=0, return_dict=True)
    assert model.output.dtype == "float16"
    expected = psnr_y(truth, truth + noise, 2).numpy().mean()
    assert results["psnr_y"] == pytest.approx(expected, abs=0.02)
    assert 0.3 < results["ssim_y"] < 1.0


def test_image_without_an_error_counts_a_hundred_decibels():
    truth = smooth_image(6)[None].astype(np.float32)
    meter = PsnrY(2, 255.0)
    meter.update_state(truth, truth)
    assert float(meter.result()) == 100.0
    meter.update_state(truth, truth + 1)
    assert np.isfinite(float(meter.result()))
