from __future__ import annotations

import numpy as np
import pytest

from keras_nas.errors import KerasNasError
from keras_nas.reporting.classification_images import RIGHT, WRONG, classification_images
from keras_nas.reporting.plots import save

NAMES = ("cat", "dog", "cow")


@pytest.mark.parametrize("channels", [1, 3])
def test_wrong_answers_are_red(channels, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (7, 8, 8, channels)).astype("uint8")
    truth = np.array([0, 1, 2, 0, 1, 2, 0])
    answers = {"original": truth, "small": np.array([0, 1, 2, 0, 1, 2, 1])}
    figure = classification_images(images, truth, answers, NAMES)
    drawn = [place for place in figure.axes if place.images]
    assert [place.get_title() for place in drawn] == [NAMES[index] for index in truth]
    np.testing.assert_array_equal(
        drawn[6].images[0].get_array(), images[6] if channels == 3 else images[6, ..., 0]
    )
    lines = [(text.get_text(), text.get_color()) for text in drawn[6].texts]
    assert lines == [("original: cat", RIGHT), ("small: dog", WRONG)]
    assert {text.get_color() for place in drawn[:6] for text in place.texts} == {RIGHT}
    assert save(figure, tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG"


def test_lengths_must_fit():
    images = np.zeros((2, 4, 4, 1), "uint8")
    with pytest.raises(KerasNasError, match=r"same length, from 1. Received: lengths \[1, 2\]"):
        classification_images(images, np.zeros(2, int), {"a": np.zeros(1, int)}, NAMES)
    with pytest.raises(KerasNasError, match="from 1"):
        classification_images(images[:0], np.zeros(0, int), {}, NAMES)
