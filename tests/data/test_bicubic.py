"""Bicubic resizing: MATLAB's own numbers, weights worked by hand, independent references."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from keras_nas.data.bicubic import cubic, imresize, resize_weights
from keras_nas.errors import KerasNasError

# An 8 x 10 uint8 image and what MATLAB's imresize makes of it, as printed in the tests of GNU
# Octave's image package ("reference results from matlab").
MATLAB_INPUT = np.array(
    [
        [116, 227, 153, 69, 146, 194, 59, 130, 139, 106],
        [2, 47, 137, 249, 90, 75, 16, 24, 158, 44],
        [155, 68, 46, 84, 166, 156, 69, 204, 32, 152],
        [71, 221, 137, 230, 210, 153, 192, 115, 30, 118],
        [107, 143, 108, 52, 51, 73, 101, 21, 175, 90],
        [54, 158, 143, 77, 26, 168, 113, 229, 165, 225],
        [9, 47, 133, 135, 130, 207, 236, 43, 19, 73],
        [129, 60, 59, 243, 64, 181, 249, 56, 32, 86],
    ],
    np.uint8,
)
MATLAB_HALF = [
    [105, 140, 126, 81, 109],
    [110, 134, 153, 114, 93],
    [108, 108, 94, 127, 146],
    [67, 126, 162, 149, 62],
]
MATLAB_HALF_WITHOUT_ANTIALIASING = [
    [92, 164, 123, 38, 118],
    [139, 116, 188, 167, 69],
    [121, 87, 67, 108, 180],
    [54, 153, 141, 149, 42],
]
MATLAB_THIRD = [[115, 135, 97, 101], [113, 119, 124, 125], [81, 157, 118, 64]]
MATLAB_ONE_AND_A_HALF_FIRST_ROWS = [
    [116, 187, 237, 171, 94, 61, 135, 191, 187, 75, 91, 142, 140, 124, 108],
    [43, 92, 143, 149, 164, 163, 119, 123, 118, 44, 38, 80, 151, 118, 62],
]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"scale": 0.5}, MATLAB_HALF),
        ({"scale": 0.5, "antialias": False}, MATLAB_HALF_WITHOUT_ANTIALIASING),
        ({"scale": 1 / 3}, MATLAB_THIRD),
        ({"output_shape": (4, 5)}, MATLAB_HALF),
    ],
)
def test_uint8_image_gives_the_bytes_that_matlab_gives(options, expected):
    result = imresize(MATLAB_INPUT, **options)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, expected)


def test_upscaled_uint8_image_gives_the_bytes_that_matlab_gives():
    result = imresize(MATLAB_INPUT, 1.5)
    assert result.shape == (12, 15)
    np.testing.assert_array_equal(result[:2], MATLAB_ONE_AND_A_HALF_FIRST_ROWS)


def test_floating_point_row_gives_the_numbers_that_matlab_gives():
    result = imresize(np.array([[10.0, 6.0]]), output_shape=(3, 3))
    np.testing.assert_allclose(result, [[10.27777777777777, 8.0, 5.72222222222222]] * 3, atol=1e-13)


def test_kernel_at_the_quarters_is_keys_polynomial():
    expected = [1.0, 111 / 128, 9 / 16, 29 / 128, 0.0, -9 / 128, -1 / 16, -3 / 128, 0.0, 0.0]
    np.testing.assert_array_equal(cubic(np.arange(10) / 4), expected)
    np.testing.assert_array_equal(cubic(-np.arange(10) / 4), expected)


def test_halving_weights_are_those_worked_by_hand():
    # h(d) = cubic(d / 2) / 2 at d = 1/2, 3/2, 5/2, 7/2 on either side; the ends are mirrored.
    weights, indices = resize_weights(8, 4, 0.5)
    half = np.array([-3, -9, 29, 111, 111, 29, -9, -3]) / 256
    np.testing.assert_allclose(weights, [half] * 4, rtol=1e-15)
    np.testing.assert_array_equal(
        indices,
        [
            [2, 1, 0, 0, 1, 2, 3, 4],
            [0, 0, 1, 2, 3, 4, 5, 6],
            [1, 2, 3, 4, 5, 6, 7, 7],
            [3, 4, 5, 6, 7, 7, 6, 5],
        ],
    )


def test_doubling_weights_are_those_worked_by_hand():
    # Output 2i lies a quarter pixel left of input i, output 2i + 1 a quarter pixel right.
    weights, indices = resize_weights(6, 12, 2.0)
    line = np.zeros((12, 6))
    np.add.at(line, (np.arange(12)[:, None], indices), weights)
    np.testing.assert_allclose(line[4], np.array([-3, 29, 111, -9, 0, 0]) / 128, rtol=1e-15)
    np.testing.assert_allclose(line[5], np.array([0, -9, 111, 29, -3, 0]) / 128, rtol=1e-15)
    # Output 0 reads pixels -2, -1, 0, 1, which are 1, 0, 0, 1.
    np.testing.assert_allclose(line[0], np.array([140, -12, 0, 0, 0, 0]) / 128, rtol=1e-15)


def test_halved_ramp_is_a_ramp_with_mirrored_ends():
    ramp = np.tile(np.arange(12.0), (8, 1))
    row = imresize(ramp, 0.5)[0]
    np.testing.assert_allclose(row[2:4], [4.5, 6.5], rtol=1e-14)
    # (-3·2 - 9·1 + 29·0 + 111·0 + 111·1 + 29·2 - 9·3 - 3·4) / 256, and its mirror image
    np.testing.assert_allclose([row[0], 11 - row[-1]], [115 / 256] * 2, rtol=1e-13)


def test_doubled_ramp_of_eight_by_eight_is_a_ramp_inside():
    ramp = np.arange(8.0)[:, None] * np.ones((1, 8))
    column = imresize(ramp, 2)[:, 3]
    np.testing.assert_allclose(column[4:12], (np.arange(4, 12) + 0.5) / 2 - 0.5, rtol=1e-14)


def test_impulse_gives_the_product_of_two_kernels():
    image = np.zeros((16, 16))
    image[8, 7] = 1.0
    result = imresize(image, 0.5)
    rows = 0.5 * cubic((2 * np.arange(8) + 0.5 - 8) / 2)
    columns = 0.5 * cubic((2 * np.arange(8) + 0.5 - 7) / 2)
    np.testing.assert_allclose(result, np.outer(rows, columns), atol=1e-16)


@pytest.mark.parametrize("scale", [0.5, 0.25, 2.0, 3.0, 1 / 3])
def test_equals_tensorflows_antialiased_bicubic_of_the_mirrored_image(scale):
    image = np.random.default_rng(1).uniform(0, 1, (24, 36, 3))
    pad = 12
    mirrored = np.pad(image, [(pad, pad), (pad, pad), (0, 0)], mode="symmetric")
    size = [round(n * scale) for n in mirrored.shape[:2]]
    reference = tf.image.resize(mirrored, size, method="bicubic", antialias=True).numpy()
    edge = round(pad * scale)
    reference = reference[edge:-edge, edge:-edge]
    np.testing.assert_allclose(imresize(image, scale), reference, atol=5e-6)


def test_channels_and_leading_axes_are_independent():
    image = np.random.default_rng(2).uniform(0, 1, (9, 7, 3))
    result = imresize(image, 2)
    assert result.shape == (18, 14, 3)
    assert result.dtype == np.float64
    for channel in range(3):
        np.testing.assert_array_equal(result[..., channel], imresize(image[..., channel], 2))
    assert imresize(image.astype(np.float32), 2).dtype == np.float32


def test_sizes_are_rounded_up():
    assert imresize(np.zeros((9, 11), np.uint8), 0.5).shape == (5, 6)
    assert imresize(np.zeros((9, 11), np.uint8), (0.5, 2)).shape == (5, 22)


@given(value=st.floats(0, 255), scale=st.sampled_from([0.3, 0.5, 2.0, 2.5]))
def test_constant_image_stays_constant(value, scale):
    result = imresize(np.full((7, 5), value), scale)
    np.testing.assert_allclose(result, value, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Exactly one of `scale` and `output_shape`"),
        ({"scale": 2, "output_shape": (4, 4)}, "Exactly one of `scale` and `output_shape`"),
        ({"scale": 0}, "`scale` must be one positive number or two"),
        ({"scale": (1, 2, 3)}, "`scale` must be one positive number or two"),
        ({"output_shape": (0, 4)}, "`output_shape` must be two positive integers"),
    ],
)
def test_wrong_sizes_are_named(arguments, message):
    with pytest.raises(KerasNasError, match=message):
        imresize(np.zeros((4, 4)), **arguments)


@pytest.mark.parametrize("image", [np.zeros(4), np.zeros((0, 4)), np.zeros((4, 4), np.int32)])
def test_wrong_images_are_named(image):
    with pytest.raises(KerasNasError, match="`image` must"):
        imresize(image, 2)
