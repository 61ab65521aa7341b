"""Guessing a classifier's pixels: networks made for one range, tried in all."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from keras_nas.data.normalization import Normalization
from keras_nas.errors import UsageError
from keras_nas.tasks.pixel_guess import CANDIDATES, PixelGuess, guess_pixels

OWN = Normalization((0.45, 0.45, 0.45), (0.25, 0.25, 0.25))


@pytest.fixture(scope="module")
def pictures():
    """Forty pictures of each of five classes; class k has the red 30 + 45 k, give or take 10."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(5), 40)
    images = random.integers(100, 140, (200, 6, 6, 3))
    images[..., 0] = 30 + 45 * labels[:, None, None] + random.integers(-10, 11, (200, 6, 6))
    return images.astype(np.uint8), labels


def nearest_red(pixels, inside=None, head=None, size=6):
    """A network that names the class whose red, in `pixels`, is nearest the picture's mean red."""
    inputs = keras.Input((size, size, 3))
    x = inputs if inside is None else inside(inputs)
    x = layers.GlobalAveragePooling2D()(x)
    dense = layers.Dense(5, activation=head)
    outputs = dense(x)
    reds = np.full((5, 3), 120.0)
    reds[:, 0] = 30 + 45 * np.arange(5)
    normalization = OWN.of_pixels(pixels)
    centres = normalization.apply(reds).numpy()
    kernel, bias = np.zeros((3, 5)), np.zeros(5)
    red = 2 if normalization.bgr else 0
    # −(x − c)² without x², in deviations of the range, so that a softmax of it is sharp.
    width = np.ptp(centres[:, red]) / 8
    kernel[red] = 2 * centres[:, red] / width**2
    bias[:] = -((centres[:, red] / width) ** 2)
    dense.set_weights([kernel, bias])
    return keras.Model(inputs, outputs)


@pytest.mark.parametrize("pixels", CANDIDATES)
@pytest.mark.parametrize("head", [None, "softmax"])
def test_a_network_s_own_range_is_found(pictures, pixels, head):
    guess = guess_pixels(nearest_red(pixels, head=head), *pictures, standardization=OWN)
    assert guess.pixels == pixels
    assert guess.top1[pixels] == 1.0
    assert next(iter(guess.top1)) == pixels
    assert set(guess.top1) == set(CANDIDATES)
    assert guess.better_than_chance
    assert (guess.chance, guess.examples) == (0.2, 200)


def test_a_network_that_scales_by_itself_wants_raw_pixels(pictures):
    model = nearest_red("-1..1", inside=layers.Rescaling(1 / 127.5, -1.0))
    guess = guess_pixels(model, *pictures)
    assert guess.pixels == "0..255"
    assert guess.certain
    assert guess.describe().startswith("pixels 0..255, by trying: top-1 1 of 200 pictures (")


class Preprocessed(keras.Model):
    """A network with something before it in `predict`, as keras-hub's tasks have a preprocessor."""

    def predict(self, x, **options):
        return super().predict(x / 255, **options)


def test_what_predict_does_beforehand_is_no_part_of_the_network(pictures):
    network = nearest_red("0..1")
    model = Preprocessed(network.input, network.output)
    assert guess_pixels(model, *pictures).pixels == "0..1"


def test_labels_may_be_one_hot_and_pictures_of_another_size(pictures):
    images, labels = pictures
    guess = guess_pixels(nearest_red("0..1", size=9), images, np.eye(5)[labels])
    assert guess.pixels == "0..1"


def test_a_network_that_standardises_for_itself_ties(pictures):
    """Brightness does not matter to a network that takes each picture's own mean away."""
    inputs = keras.Input((6, 6, 3))
    x = layers.LayerNormalization(axis=(1, 2, 3), epsilon=1e-12, center=False, scale=False)(inputs)
    x = layers.GlobalAveragePooling2D()(x)
    outputs = layers.Dense(2)(x)
    model = keras.Model(inputs, outputs)
    model.layers[-1].set_weights([np.array([[-1.0, 1.0], [0, 0], [0, 0]]), np.zeros(2)])
    images, labels = pictures
    chosen = (labels == 0) | (labels == 4)
    guess = guess_pixels(model, images[chosen], labels[chosen] // 4, candidates=CANDIDATES[:3])
    assert set(guess.tied) == set(CANDIDATES[:3]) - {guess.pixels}
    assert guess.better_than_chance
    assert not guess.certain
    assert "not clearly better than" in guess.describe()


def test_a_network_of_other_classes_is_no_better_than_chance(pictures):
    images, labels = pictures
    guess = guess_pixels(nearest_red("0..1"), images, (labels + 2) % 5)
    assert not guess.better_than_chance
    assert "no better than always saying one class (0.2)" in guess.describe()


def test_one_sigmoid_says_yes_or_no(pictures):
    images, labels = pictures
    inputs = keras.Input((6, 6, 3))
    dense = layers.Dense(1, activation="sigmoid")
    model = keras.Model(inputs, dense(layers.GlobalAveragePooling2D()(inputs)))
    dense.set_weights([np.array([[0.2], [0.0], [0.0]]), np.array([-0.2 * 97.5])])
    guess = guess_pixels(model, images, (labels >= 2).astype(int))
    assert (guess.pixels, guess.top1["0..255"]) == ("0..255", 1.0)
    assert guess.chance == 0.6


def test_few_of_many_pictures_are_tried(pictures):
    images, labels = pictures
    guess = guess_pixels(nearest_red("0..1"), images, labels, examples=50)
    assert (guess.examples, guess.chance) == (50, 0.2)


def test_grey_pictures_are_tried_in_the_ranges_that_they_can_have(pictures):
    inputs = keras.Input((6, 6, 1))
    model = keras.Model(inputs, layers.Dense(5)(layers.GlobalAveragePooling2D()(inputs)))
    images, labels = pictures
    guess = guess_pixels(model, images[..., :1], labels)
    assert set(guess.top1) == set(CANDIDATES[:4])


@pytest.mark.parametrize(
    ("hits", "examples", "better"), [(0.29, 100, False), (0.33, 100, True), (0.29, 10_000, True)]
)
def test_better_than_chance_is_three_deviations_above_it(hits, examples, better):
    """√(0.2 · 0.8 / 100) is 0.04, so that 0.32 is the border for 100 pictures."""
    guess = PixelGuess("0..1", {"0..1": hits}, {"0..1": 1.0}, (), 0.2, examples)
    assert guess.better_than_chance == better


def test_what_cannot_be_tried_is_refused(pictures):
    images, labels = pictures
    model = nearest_red("0..1")
    for arguments, message in (
        ((images.astype("float32"), labels), "`images` must be uint8"),
        ((images, labels[:-1]), "one label each"),
        ((images[..., :1], labels), "must have the 3 channels that model .* Received: 1"),
        ((images, labels + 1), "of the 5 classes .* 0 to 4. Received: 1 to 5"),
    ):
        with pytest.raises(UsageError, match=message):
            guess_pixels(model, *arguments)
    inputs = keras.Input((8,))
    with pytest.raises(UsageError, match=r"must take one image .* which takes 8"):
        guess_pixels(keras.Model(inputs, layers.Dense(5)(inputs)), images, labels)
