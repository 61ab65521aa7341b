"""Outputs that hardly vary: faithful files pass by their rounding, wrong ones are refused."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from export import parity
from export.errors import ParityError
from export.export_model import export_model
from export.tflite import convert


def head(x):
    return layers.Dense(4)(layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(x)))


def random_images(count=12):
    return np.random.default_rng(0).random((count, 8, 8, 3)).astype("float32")


def image_input():
    return keras.Input((8, 8, 3))


def nearly_constant(slope=1e-4, offset=100.0):
    image = image_input()
    return keras.Model(image, slope * head(image) + offset)


def cosine():
    image = image_input()
    a, b = (
        layers.Conv2D(8, 3, activation="relu", bias_initializer="ones", name=name)(image)
        for name in ("a", "b")
    )
    a, b = layers.GlobalAveragePooling2D()(a), layers.GlobalAveragePooling2D()(b)
    return keras.Model(image, layers.Dot(-1, normalize=True)([a, b]))


def cancelling():
    image = image_input()
    convolve = layers.Conv2D(8, 3, name="convolve")
    x = convolve(image + 4000.0) - convolve(image * 0.0 + 4000.0)
    return keras.Model(image, layers.GlobalAveragePooling2D()(x))


def copied(build, model, **options):
    other = build(**options)
    other.set_weights(model.get_weights())
    return other


@pytest.mark.parametrize("build", [nearly_constant, cosine])
def test_outputs_that_hardly_vary_are_compared_by_their_rounding(tmp_path, build):
    model = build()
    exported, found = export_model(model, tmp_path / "m.tflite")
    assert found.output_range > 0
    assert any("hardly varies" in note for note in found.notes)
    other = copied(build, model)
    kernel = other.layers[1].kernel
    kernel.assign(np.roll(np.asarray(kernel), 1, axis=-1))
    assert not parity.compare(other, exported.path, random_images()).passed


def test_rounding_inside_the_model_is_measured(tmp_path):
    """Sums of about 4000 are rounded to 2.4e-4, their differences are about 0.1."""
    model = cancelling()
    exported, found = export_model(model, tmp_path / "m.tflite")
    assert found.worst_relative > parity.TOLERANCES["float32"].worst
    strict = parity.TOLERANCES["float32"]
    assert not parity.compare(model, exported.path, random_images(), tolerance=strict).passed
    other = copied(cancelling, model)
    kernel = other.get_layer("convolve").kernel
    kernel.assign(np.asarray(kernel) * 1.01)
    assert not parity.compare(other, exported.path, random_images()).passed


@pytest.mark.parametrize("change", [{"slope": -1e-4}, {"slope": 0.0}, {"offset": 100.0001}])
def test_wrong_outputs_that_hardly_vary_are_refused(tmp_path, change):
    model = nearly_constant()
    path = convert(copied(nearly_constant, model, **change), tmp_path / "m.tflite").path
    with pytest.raises(ParityError):
        parity.check(model, path, random_images(64))


def test_a_wrong_constant_is_refused_in_eight_bits(tmp_path):
    image = image_input()
    model = keras.Model(image, 0.0 * head(image) + 100.0)
    other = keras.Model(image, 0.0 * head(image) + 97.0)
    data = random_images()
    path = convert(other, tmp_path / "m.tflite", "int8", representative_data=data).path
    assert not parity.compare(model, path, data, format="int8").passed
    assert parity.compare(other, path, data, format="int8").passed


def test_a_wrong_zero_is_refused(tmp_path):
    image = image_input()
    zero = keras.Model(image, 0.0 * head(image))
    tiny = keras.Model(image, 0.0 * head(image) + 5e-5)
    path = convert(tiny, tmp_path / "m.tflite").path
    assert not parity.compare(zero, path, random_images()).passed
