from __future__ import annotations

import numpy as np
import pytest

from keras_nas.errors import KerasNasError
from keras_nas.reporting.plots import save
from keras_nas.reporting.segmentation_images import segmentation_images

NAMES = ("background", "grey", "white")


def drawing(channels=1):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (2, 8, 6, channels)).astype("uint8")
    truth = random.integers(0, 2, (2, 8, 6)).astype("uint8")
    truth[:, 0] = 255
    predictions = np.full((2, 8, 6), 1)
    return segmentation_images(images, truth, predictions, NAMES), truth


@pytest.mark.parametrize("channels", [1, 3])
def test_colours_and_legend(channels, tmp_path):
    figure, truth = drawing(channels)
    assert len(figure.axes) == 6
    shown = figure.axes[2].images[0].get_array()
    # Class 1 is VOC's dark red; void stays void in the prediction.
    assert np.all(np.asarray(shown)[1:] == [128, 0, 0])
    assert np.all(np.asarray(shown)[0] == [224, 224, 192])
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["background", "grey", "void"]
    assert save(figure, tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG"
    np.testing.assert_array_equal(
        np.asarray(figure.axes[4].images[0].get_array())[1:, :, 0], 128 * truth[1, 1:]
    )


def test_shapes_must_fit():
    images = np.zeros((1, 4, 4, 1), "uint8")
    with pytest.raises(KerasNasError, match="must be of one shape"):
        segmentation_images(images, np.zeros((1, 4, 5), int), np.zeros((1, 4, 5), int), NAMES)
    with pytest.raises(KerasNasError, match="must be of one shape"):
        segmentation_images(images[:0], np.zeros((0, 4, 4)), np.zeros((0, 4, 4)), NAMES)
