"""The figures of held-out images: what they show, and that they are written as images."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest

from keras_nas.data.bicubic import imresize
from keras_nas.data.image_pairs import make_pair
from keras_nas.errors import KerasNasError
from keras_nas.reporting.held_out_images import (
    RIGHT,
    WRONG,
    classification_images,
    segmentation_images,
    triptych,
    worst_place,
)
from keras_nas.reporting.plots import save
from keras_nas.tasks.super_resolution_evaluation import score_output

NAMES = ("cat", "dog", "cow")
PIXEL_NAMES = ("background", "grey", "white")


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


def test_lengths_of_answers_must_fit():
    images = np.zeros((2, 4, 4, 1), "uint8")
    with pytest.raises(KerasNasError, match=r"same length, from 1. Received: lengths \[1, 2\]"):
        classification_images(images, np.zeros(2, int), {"a": np.zeros(1, int)}, NAMES)
    with pytest.raises(KerasNasError, match="from 1"):
        classification_images(images[:0], np.zeros(0, int), {}, NAMES)


def segmentation(channels=1):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (2, 8, 6, channels)).astype("uint8")
    truth = random.integers(0, 2, (2, 8, 6)).astype("uint8")
    truth[:, 0] = 255
    predictions = np.full((2, 8, 6), 1)
    return segmentation_images(images, truth, predictions, PIXEL_NAMES), truth


@pytest.mark.parametrize("channels", [1, 3])
def test_segmentation_has_colours_and_a_legend(channels, tmp_path):
    figure, truth = segmentation(channels)
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


def test_shapes_of_segmentation_must_fit():
    images = np.zeros((1, 4, 4, 1), "uint8")
    with pytest.raises(KerasNasError, match="must be of one shape"):
        segmentation_images(images, np.zeros((1, 4, 5), int), np.zeros((1, 4, 5), int), PIXEL_NAMES)
    with pytest.raises(KerasNasError, match="must be of one shape"):
        segmentation_images(images[:0], np.zeros((0, 4, 4)), np.zeros((0, 4, 4)), PIXEL_NAMES)


@pytest.fixture(scope="module")
def pair():
    """A smooth image with a checkerboard of single pixels, which bicubic loses."""
    smooth = np.linspace(60, 180, 120 * 160 * 3).reshape(120, 160, 3).astype(np.uint8)
    smooth[70:94, 30:54] = 255 * (np.indices((24, 24)).sum(axis=0) % 2)[..., None]
    return make_pair("board", smooth, 2)


def test_zoom_is_where_bicubic_errs_most(pair):
    bicubic = imresize(pair.low, 2)
    row, column = worst_place(bicubic, pair.high, 24)
    assert abs(row - 70) <= 2
    assert abs(column - 30) <= 2


def test_worst_place_of_one_wrong_pixel_by_hand():
    truth = np.zeros((6, 8, 3), np.uint8)
    image = truth.copy()
    image[5, 7] = 255
    assert worst_place(image, truth, 1) == (5, 7)
    assert worst_place(image, truth, 2) == (4, 6)


def test_panels_are_the_three_images_and_captions_their_scores(pair):
    output = pair.high.copy()
    output[:20] //= 2
    figure = triptych(pair, output, label="EDSR", zoom=24)
    axes = np.array(figure.axes).reshape(2, 3)
    expected = (imresize(pair.low, 2), output, pair.high)
    row, column = worst_place(expected[0], pair.high, 24)
    for index, image in enumerate(expected):
        np.testing.assert_array_equal(axes[0, index].images[0].get_array(), image)
        part = image[row : row + 24, column : column + 24]
        np.testing.assert_array_equal(axes[1, index].images[0].get_array(), part)
        assert axes[0, index].patches[0].get_xy() == (column, row)
    titles = [panel.get_title() for panel in axes[0]]
    score = score_output(pair, output)
    assert titles[0] == f"bicubic  {score.bicubic_psnr:.2f} dB / {score.bicubic_ssim:.4f}"
    assert titles[1].startswith(f"EDSR  {score.psnr:.2f} dB / {score.ssim:.4f}")
    assert titles[1].endswith(f"({score.psnr - score.bicubic_psnr:+.2f} dB)")
    assert titles[2] == "truth"


def test_triptych_is_written_as_an_image(pair, tmp_path):
    path = save(triptych(pair, pair.high), tmp_path / "board.png")
    with PIL.Image.open(path) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape[0] > 500
    assert pixels.shape[1] > 1000
    assert pixels.std() > 20


def test_zoom_larger_than_the_image_is_cut(pair):
    figure = triptych(pair, pair.high, zoom=1000)
    assert figure.axes[3].images[0].get_array().shape == (120, 120, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda output: (output[:-2], 96), "`output` must be uint8 of shape"),
        (lambda output: (output / 255.0, 96), "`output` must be uint8 of shape"),
        (lambda output: (output, 0), "`zoom` must be 1 or more"),
    ],
)
def test_wrong_arguments_are_named(pair, change, message):
    output, zoom = change(pair.high)
    with pytest.raises(KerasNasError, match=message):
        triptych(pair, output, zoom=zoom)
