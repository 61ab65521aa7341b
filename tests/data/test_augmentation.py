"""Augmentation: hand-worked crops, flips and squares, and the same images for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_nas.data.augmentation import (
    Augmentation,
    augmented,
    central_crop,
    random_crop_flip,
    random_cutout,
    random_resized_crop,
)
from keras_nas.data.normalization import Normalization
from keras_nas.errors import KerasNasError

SEED = tf.constant([3, 5])
HALF = Normalization((0.5,), (0.5,))


def numbered(count: int, height: int = 6, width: int = 5) -> np.ndarray:
    """`count` copies of an image whose pixel (i, j) is 1 + i * width + j."""
    image = np.arange(1, height * width + 1, dtype=np.uint8).reshape(height, width, 1)
    return np.stack([image] * count)


def test_a_crop_is_a_window_of_the_padded_image_and_its_mirror_image() -> None:
    pad, count = 2, 400
    images = numbered(count)
    changed, inside = random_crop_flip(tf.constant(images), SEED, pad, flip=True)
    changed = np.where(inside, changed, 0)[..., 0]
    padded = np.pad(images[0, ..., 0], pad)
    windows = {}
    for top in range(2 * pad + 1):
        for left in range(2 * pad + 1):
            window = padded[top : top + 6, left : left + 5]
            windows[window.tobytes()] = (top, left, False)
            windows[window[:, ::-1].tobytes()] = (top, left, True)
    assert len(windows) == 50
    seen = [windows[image.tobytes()] for image in changed]
    assert {place[:2] for place in seen} == {(top, left) for top in range(5) for left in range(5)}
    assert 150 < sum(mirrored for *_, mirrored in seen) < 250


def test_without_padding_only_the_flip_is_left() -> None:
    images = numbered(50)
    changed, inside = random_crop_flip(tf.constant(images), SEED, 0, flip=True)
    assert np.all(inside)
    mirrored = [bool(np.all(image == images[0][:, ::-1])) for image in changed.numpy()]
    plain = [bool(np.all(image == images[0])) for image in changed.numpy()]
    assert set(mirrored) == {True, False}
    assert mirrored == [not same for same in plain]


def test_neither_padding_nor_flip_changes_nothing() -> None:
    changed, _ = random_crop_flip(tf.constant(numbered(8)), SEED, 0, flip=False)
    np.testing.assert_array_equal(changed, numbered(8))


def test_cutout_zeroes_one_square_of_the_given_size() -> None:
    images = tf.ones([200, 20, 20, 2])
    cut = random_cutout(images, SEED, 6).numpy() == 0.0
    np.testing.assert_array_equal(cut[..., 0], cut[..., 1])
    rows, columns = cut[..., 0].any(2), cut[..., 0].any(1)
    np.testing.assert_array_equal(cut[..., 0], rows[:, :, None] & columns[:, None, :])
    for sides in (rows, columns):
        lengths = sides.sum(1)
        assert lengths.max() == 6
        assert lengths.min() >= 3
        assert np.all(np.abs(np.diff(sides.astype(int), axis=1)).sum(1) <= 2)
    assert len({image.tobytes() for image in cut}) > 100


def test_padding_is_the_mean_or_black() -> None:
    images = tf.fill([64, 8, 8, 1], tf.constant(255, tf.uint8))
    for pad_with, value in (("mean", 0.0), ("black", -1.0)):
        changes = Augmentation(pad=3, pad_with=pad_with, flip=False)
        values = np.unique(augmented(images, SEED, changes, HALF))
        np.testing.assert_allclose(values, [value, 1.0], atol=1e-6)


def test_the_seed_decides_everything() -> None:
    images = tf.constant(np.random.default_rng(0).integers(0, 256, (16, 12, 12, 3)), tf.uint8)
    colour = Normalization((0.4, 0.5, 0.6), (0.2, 0.2, 0.2))
    changes = Augmentation(pad=2, cutout=4)
    first, again, other = (
        augmented(images, seed, changes, colour).numpy() for seed in (SEED, SEED, SEED + 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("values", [{"pad": -1}, {"cutout": -2}, {"pad_with": "noise"}])
def test_an_impossible_augmentation_is_refused(values: dict) -> None:
    with pytest.raises(KerasNasError, match=f"`{next(iter(values))}` must be"):
        Augmentation(**values)


@pytest.fixture(scope="module")
def gradient() -> np.ndarray:
    """A smooth 90×120 image: red rises downwards, green to the right, blue is 128."""
    red, green = np.meshgrid(np.linspace(0, 255, 90), np.linspace(0, 255, 120), indexing="ij")
    return np.stack([red, green, np.full_like(red, 128)], -1).astype(np.uint8)


def test_inceptions_crop_keeps_to_its_area_and_shape(gradient: np.ndarray) -> None:
    jpeg = tf.io.encode_jpeg(gradient, quality=100)
    areas, ratios, mirrored = [], [], []
    for index in range(80):
        crop = random_resized_crop(jpeg, tf.constant([1, index]), 32).numpy()
        assert crop.shape == (32, 32, 3)
        assert crop.dtype == np.float32
        height = abs(crop[-1, :, 0].mean() - crop[0, :, 0].mean()) / 255 * 90 * 32 / 31
        width = (crop[:, -1, 1].mean() - crop[:, 0, 1].mean()) / 255 * 120 * 32 / 31
        mirrored.append(width < 0)
        areas.append(height * abs(width) / (90 * 120))
        ratios.append(abs(width) / height)
    assert 0.05 < min(areas) < 0.25
    assert 0.7 < max(areas) <= 1.05
    assert min(ratios) > 0.65
    assert max(ratios) < 1.55
    assert 20 < sum(mirrored) < 60


def test_the_central_crop_is_the_middle_of_the_scaled_image(gradient: np.ndarray) -> None:
    crop = central_crop(tf.constant(gradient), 28, 32).numpy()
    assert crop.shape == (28, 28, 3)
    # Height 90 becomes 32, width 120 becomes 43 (42.67): pixel centres of rows 2 … 29 of 32.
    rows = ((np.arange(2, 30) + 0.5) * 90 / 32 - 0.5) * 255 / 89
    columns = ((np.arange(7, 35) + 0.5) * 120 / 43 - 0.5) * 255 / 119
    np.testing.assert_allclose(crop[:, 14, 0], rows, atol=1.0)
    np.testing.assert_allclose(crop[14, :, 1], columns, atol=1.0)


def test_a_square_image_of_the_right_size_keeps_its_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    crop = central_crop(tf.constant(image), 28, 32).numpy()
    np.testing.assert_allclose(crop, image[2:30, 2:30], atol=1e-3)
