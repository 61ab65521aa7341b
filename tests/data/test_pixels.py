"""The pixels that networks want: by name as keras.applications makes them, and by numbers."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nas.data import Augmentation, Normalization, load
from keras_nas.data.augmentation import augmented
from keras_nas.data.picture_settings import PictureSettings
from keras_nas.data.pixels import PIXELS, RANGES, pixel_range
from keras_nas.errors import UsageError
from tests.data.pictures import save

OWN = Normalization((0.2, 0.4, 0.6), (0.1, 0.2, 0.3))
MODULES = [
    name
    for name in dir(keras.applications)
    if name != "imagenet_utils" and hasattr(getattr(keras.applications, name), "preprocess_input")
]


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3)).astype(np.uint8)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_s_name_gives_what_its_preprocess_input_gives(images, name):
    wanted = getattr(keras.applications, name).preprocess_input(images.astype("float32"))
    made = OWN.of_pixels(name)
    np.testing.assert_allclose(made.apply(images), wanted, atol=2e-4)
    np.testing.assert_array_equal(made.undo(made.apply(images)), images)


@pytest.mark.parametrize("mode", ["caffe", "tf", "torch"])
def test_a_mode_gives_what_preprocess_input_gives_in_it(images, mode):
    preprocess = keras.applications.imagenet_utils.preprocess_input
    wanted = preprocess(images.astype("float32"), mode=mode)
    np.testing.assert_allclose(OWN.of_pixels(mode).apply(images), wanted, atol=2e-4)


def test_every_module_and_mode_has_a_name():
    assert set(RANGES) == {*MODULES, "0..255", "0..1", "-1..1", "caffe", "tf", "torch"}


@pytest.mark.parametrize(
    ("name", "black", "white"), [("0..255", 0, 255), ("0..1", 0, 1), ("-1..1", -1, 1)]
)
def test_a_range_goes_from_black_to_white(name, black, white):
    made = OWN.of_pixels(name).apply(np.array([[0, 0, 0], [255, 255, 255]], np.uint8)).numpy()
    np.testing.assert_allclose(made, [[black] * 3, [white] * 3], rtol=1e-6)


def test_numbers_stand_for_a_range_without_a_name():
    made = OWN.of_pixels(pixel_mean=(100.0,), pixel_std=(10.0, 20.0, 50.0))
    np.testing.assert_allclose(made.apply([[110.0, 120.0, 200.0]]), [[1.0, 1.0, 2.0]], rtol=1e-5)


def test_standardized_is_the_data_s_own():
    assert OWN.of_pixels() is OWN
    assert Normalization((0.3,), (0.2,)).of_pixels("0..1") == Normalization(
        (0.0,), (1.0,), fill=(0.3,)
    )


@pytest.mark.parametrize("pixels", ["standardized", "0..255", "-1..1", "caffe"])
def test_padding_and_cutout_are_the_mean_of_the_data_in_every_range(pixels):
    """Of 0.2, 0.4, 0.6 the pixel is 51, 102, 153; caffe has blue first."""
    wanted = {
        "standardized": [0.0, 0.0, 0.0],
        "0..255": [51.0, 102.0, 153.0],
        "-1..1": [-0.6, -0.2, 0.2],
        "caffe": [153 - 103.939, 102 - 116.779, 51 - 123.68],
    }[pixels]
    normalization = OWN.of_pixels(pixels)
    white = tf.fill([8, 6, 6, 3], tf.constant(255, tf.uint8))
    whitened = normalization.apply(white)[0, 0, 0].numpy()
    for changes in (Augmentation(pad=3), Augmentation(pad=0, cutout=4)):
        made = augmented(white, tf.constant([1, 2]), changes, normalization).numpy()
        outside = made[~np.all(np.isclose(made, whitened), axis=-1)]
        assert len(outside) > 8
        np.testing.assert_allclose(outside, [wanted] * len(outside), atol=2e-4)


def test_black_padding_is_black_in_every_range():
    normalization = OWN.of_pixels("-1..1")
    changes = Augmentation(pad=3, pad_with="black", flip=False)
    white = tf.fill([8, 6, 6, 3], tf.constant(255, tf.uint8))
    values = np.unique(augmented(white, tf.constant([1, 2]), changes, normalization))
    np.testing.assert_allclose(values, [-1.0, 1.0], atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pixels": "0-1"}, r"`pixels` must be one of .*'0..255'.* Received: pixels='0-1'"),
        ({"pixel_mean": (1.0,)}, "must be given together"),
        ({"pixel_std": (1.0,)}, "must be given together"),
        ({"pixels": "0..1", "pixel_mean": (0.0,), "pixel_std": (1.0,)}, "without `pixels`"),
        (
            {"pixel_mean": (0.0,), "pixel_std": (1.0, 0.0, 1.0)},
            "`pixel_std` must be greater than 0",
        ),
    ],
)
def test_pixels_that_are_none_are_refused(arguments, message):
    for asked in (pixel_range, OWN.of_pixels, PictureSettings):
        with pytest.raises(UsageError, match=message if asked is not PictureSettings else "pixel"):
            asked(**arguments)


def test_a_range_of_three_channels_is_refused_for_grey_pictures():
    grey = Normalization((0.3,), (0.2,))
    with pytest.raises(
        UsageError, match=r"'torch' is for pictures of 3 channels. Received: .* of 1"
    ):
        grey.of_pixels("torch")
    with pytest.raises(UsageError, match="by numbers is for pictures of 2 channels"):
        grey.of_pixels(pixel_mean=(0.0,), pixel_std=(1.0, 2.0))


def test_a_data_set_has_the_pixels_that_are_asked_for(tmp_path):
    for name in ("a", "b"):
        save(tmp_path / name, 10, 100)
    data = load("class_folders", data_dir=tmp_path, batch_size=4, pixels="0..255", augment=False)
    for part in (data.train, data.validation, data.test):
        values = np.concatenate([images.numpy().ravel() for images, _ in part])
        assert set(np.unique(values)) <= set(range(100, 110))
    assert data.normalization.mean == (0.0, 0.0, 0.0)


def test_settings_become_options_of_the_data_that_have_them():
    settings = PictureSettings("0..1")
    assert settings.options("photos", frozenset({"pixels"})) == {"pixels": "0..1"}
    with pytest.raises(UsageError, match="`pixels` must be 'standardized' for --data=folder"):
        settings.options("folder", frozenset())
    assert PIXELS[0] == PictureSettings().pixels
