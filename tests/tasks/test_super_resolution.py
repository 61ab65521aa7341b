"""The super-resolution task: loss, metrics, scores of folders, a training that beats bicubic."""

from __future__ import annotations

import keras
import numpy as np
import PIL.Image
import pytest
import skimage.metrics

from keras_nas.data.bicubic import imresize
from keras_nas.data.image_pairs import make_pair
from keras_nas.errors import KerasNasError
from keras_nas.models import edsr
from keras_nas.tasks.super_resolution import (
    ImageScore,
    SuperResolution,
    evaluate_folder,
    evaluate_pairs,
    mean_score,
    scale_of,
)
from keras_nas.tasks.super_resolution_metrics import rgb_to_y


def random_image(height, width, seed=0):
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), np.uint8)
    return np.asarray(
        PIL.Image.fromarray(small).resize((width, height), PIL.Image.Resampling.BICUBIC)
    )


def enlarger():
    inputs = keras.Input((None, None, 3))
    outputs = keras.layers.UpSampling2D(2)(inputs)
    return keras.Model(inputs, outputs)


def test_loss_is_the_mean_absolute_error_of_each_image():
    targets = np.zeros((2, 2, 2, 3), np.float32)
    outputs = targets + np.array([0.5, -0.25], np.float32)[:, None, None, None]
    outputs[1, 0, 0] = 0.75
    loss = SuperResolution(2).loss(targets, outputs)
    np.testing.assert_allclose(loss, [0.5, (3 * 0.25 + 0.75) / 4])


def test_loss_of_half_precision_outputs_is_computed_in_single():
    targets = np.full((1, 64, 64, 3), 0.3, np.float32)
    outputs = keras.ops.cast(targets, "float16")
    loss = SuperResolution(2).loss(targets, outputs)
    assert loss.dtype == "float32"
    np.testing.assert_allclose(loss, [abs(float(np.float16(0.3)) - 0.3)], rtol=1e-3)


def test_metrics_are_named_and_measure_images_of_the_tasks_range():
    task = SuperResolution(2, value_range=255.0)
    meters = task.metrics()
    assert [meter.name for meter in meters] == ["psnr_y", "ssim_y"]
    assert task.monitor == "psnr_y"
    truth = random_image(32, 32)[None].astype(np.float32)
    for meter in meters:
        meter.update_state(truth, truth + 1)
    # Luma moves by 219 / 255 wherever no channel is at white already.
    assert 49 < float(meters[0].result()) < 52
    assert 0.99 < float(meters[1].result()) <= 1.0


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_task_of_a_model_has_the_models_scale(scale):
    model = edsr(scale=scale, filters=4, blocks=1)
    assert SuperResolution.of(model).scale == scale == scale_of(model)
    fixed = edsr(scale=scale, filters=4, blocks=1, input_shape=(10, 12, 3))
    assert scale_of(fixed) == scale


def test_model_that_is_no_enlarger_is_refused():
    inputs = keras.Input((8, 8, 3))
    with pytest.raises(KerasNasError, match="Super-resolution needs a model from"):
        scale_of(keras.Model(inputs, keras.layers.Conv2D(3, 3)(inputs)))
    with pytest.raises(KerasNasError, match="`scale` must be 2 or more"):
        SuperResolution.of(keras.Model(inputs, keras.layers.ReLU()(inputs)))
    with pytest.raises(KerasNasError, match="`value_range` must be 1 or 255"):
        SuperResolution(2, value_range=100)


@pytest.fixture
def folder(tmp_path):
    for name, shape in [("one", (45, 60)), ("two", (64, 50))]:
        PIL.Image.fromarray(random_image(*shape, seed=len(name))).save(tmp_path / f"{name}.png")
    return tmp_path


def reference(truth, output):
    lumas = [np.asarray(rgb_to_y(x))[2:-2, 2:-2, 0] for x in (truth, output)]
    ssim = skimage.metrics.structural_similarity(
        *lumas, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    return skimage.metrics.peak_signal_noise_ratio(*lumas, data_range=255), ssim


def test_scores_of_a_folder_equal_scikit_images(folder):
    scores = evaluate_folder(enlarger(), folder, scale=2)
    assert [score.name for score in scores] == ["one", "two"]
    for score, shape in zip(scores, [(44, 60), (64, 50)], strict=True):
        original = random_image(
            *{"one": (45, 60), "two": (64, 50)}[score.name], seed=len(score.name)
        )
        truth = original[: shape[0], : shape[1]]
        low = imresize(truth, 0.5)
        bicubic = reference(truth, imresize(low, 2))
        nearest = reference(truth, low.repeat(2, 0).repeat(2, 1))
        assert (score.bicubic_psnr, score.bicubic_ssim) == pytest.approx(bicubic, rel=1e-4)
        assert (score.psnr, score.ssim) == pytest.approx(nearest, rel=1e-4)
        assert score.gain == score.psnr - score.bicubic_psnr


def test_tiles_and_range_of_values_do_not_change_the_scores(folder):
    model = edsr(filters=4, blocks=1)
    expected = evaluate_folder(model, folder)
    for other in (
        evaluate_folder(model, folder, tile=7),
        evaluate_folder(edsr_of_range_255(model), folder, value_range=255.0),
    ):
        for a, b in zip(expected, other, strict=True):
            assert (a.psnr, a.ssim) == pytest.approx((b.psnr, b.ssim), abs=1e-3)


def edsr_of_range_255(model):
    """The same function for images in 0 … 255: biases grow with the range."""
    same = edsr(filters=4, blocks=1, value_range=255.0)
    same.set_weights([w * 255 if w.ndim == 1 else w for w in model.get_weights()])
    return same


def test_mean_of_the_scores():
    scores = [ImageScore("a", 30.0, 0.8, 32.0, 0.9), ImageScore("b", 20.0, 0.6, 21.0, 0.7)]
    mean = mean_score(scores)
    assert mean.name == "mean"
    assert mean.gain == pytest.approx(1.5)
    assert (mean.bicubic_psnr, mean.psnr) == (25.0, 26.5)
    assert (mean.bicubic_ssim, mean.ssim) == pytest.approx((0.7, 0.8))
    with pytest.raises(KerasNasError, match="one score or more"):
        mean_score([])


def test_model_of_another_scale_and_small_images_are_named():
    with pytest.raises(KerasNasError, match="must enlarge 3 times"):
        evaluate_pairs(enlarger(), [make_pair("x", random_image(60, 60), 3)])
    with pytest.raises(KerasNasError, match="`x` must have 15 pixels or more"):
        evaluate_pairs(enlarger(), [make_pair("x", random_image(14, 60), 2)])


def test_training_in_fit_lowers_the_loss():
    model = edsr(filters=8, blocks=1)
    task = SuperResolution.of(model)
    truth = np.stack([random_image(32, 32, seed) for seed in range(8)]).astype(np.float32) / 255
    low = np.stack([imresize(x, 0.5) for x in truth])
    model.compile(keras.optimizers.Adam(3e-3), loss=task.loss, metrics=task.metrics())
    history = model.fit(low, truth, batch_size=4, epochs=25, verbose=0).history
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert history["psnr_y"][-1] > history["psnr_y"][0] + 2


@pytest.mark.parametrize("value_range", [1, 255])
def test_images_are_bicubic_the_models_and_the_truth(value_range):
    high = np.stack([random_image(12, 16, seed) for seed in range(2)])
    low = np.stack([imresize(image, 0.5) for image in high])
    unit = np.float32(value_range / 255)
    task = SuperResolution(2, value_range)
    shown = task.images(low * unit, high * unit, enlarger())
    assert (shown.dtype, shown.shape) == (np.uint8, (2, 12, 48, 3))
    np.testing.assert_array_equal(shown[1, :, :16], imresize(low[1], 2.0))
    np.testing.assert_array_equal(shown[:, :, 16:32], low.repeat(2, 1).repeat(2, 2))
    np.testing.assert_array_equal(shown[:, :, 32:], high)
