"""Random scale, crop and flip of an image together with the classes of its pixels.

As in `augmentation`, everything is a pure function of the image and a stateless seed.

Reference: Chen et al., Rethinking Atrous Convolution for Semantic Image Segmentation, section 4:
scales from 0.5 to 2.0, random flips, crops of 513 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

VOID = 255
"""The class of pixels that do not count: VOC's borders, and what lies outside the image."""


def random_scale_crop_flip(
    image: tf.Tensor,
    labels: tf.Tensor,
    seed: tf.Tensor,
    size: Sequence[int],
    scales: tuple[float, float] = (0.5, 2.0),
    flip: bool = True,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Scales an image, cuts a window out of it, mirrors it one time in two.

    The image is scaled bilinearly, its classes to the nearest. Where the scaled image is
    smaller than the window, it stands at a random place within it, and the rest is void.

    Args:
        image: uint8 (height, width, channels).
        labels: uint8 (height, width).
        seed: int (2,).
        size: (height, width) of the window.
        scales: The least and the greatest factor, drawn evenly in between.
        flip: Whether to mirror.

    Returns:
        The window, float32 (*size, channels) of 0 … 255, 0 outside the image; its classes, uint8
        (*size), `VOID` outside; which pixels lie inside the image, bool (*size).
    """
    scale_seed, row_seed, column_seed, flip_seed = tf.unstack(tf.random.split(seed, 4))
    scale = tf.random.stateless_uniform([], scale_seed, *scales)
    image, labels = _scaled(image, labels, scale)
    shape = tf.shape(labels)
    image, labels = _padded(image, labels, tf.maximum(shape, size), row_seed, column_seed)
    shape = tf.shape(labels)
    row = _draw(row_seed, shape[0] - size[0])
    column = _draw(column_seed, shape[1] - size[1])
    image = image[row : row + size[0], column : column + size[1]]
    labels = labels[row : row + size[0], column : column + size[1]]
    if flip:
        mirrored = tf.random.stateless_uniform([], flip_seed) < 0.5
        image = tf.where(mirrored, image[:, ::-1], image)
        labels = tf.where(mirrored, labels[:, ::-1], labels)
    return _parted(tf.ensure_shape(image, [*size, None]), tf.ensure_shape(labels, list(size)))


def centred(
    image: tf.Tensor, labels: tf.Tensor, size: Sequence[int]
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """An image in the middle of a window, for evaluation: void around it, or cropped.

    Arguments and results are those of `random_scale_crop_flip`.
    """
    image, labels = _scaled(image, labels, tf.constant(1.0))
    image = tf.image.resize_with_crop_or_pad(image, *size)
    # Void is 0 for a moment, which is what the padding is filled with.
    shifted = tf.cast(labels, tf.int32)[..., tf.newaxis] + 1
    shifted = tf.image.resize_with_crop_or_pad(shifted, *size)[..., 0]
    labels = tf.cast(tf.where(shifted == 0, VOID + _OUTSIDE, shifted - 1), tf.int32)
    return _parted(image, labels)


_OUTSIDE = 1
"""Added to `VOID` for pixels outside the image, while the two are to be told apart."""


def _scaled(image, labels, scale):
    size = tf.cast(tf.round(scale * tf.cast(tf.shape(labels), tf.float32)), tf.int32)
    image = tf.image.resize(tf.cast(image, tf.float32), size)
    labels = tf.cast(labels[..., tf.newaxis], tf.int32)
    return image, tf.image.resize(labels, size, method="nearest")[..., 0]


def _padded(image, labels, size, row_seed, column_seed):
    shape = tf.shape(labels)
    room = size - shape
    row, column = _draw(row_seed, room[0]), _draw(column_seed, room[1])
    around = [[row, room[0] - row], [column, room[1] - column]]
    image = tf.pad(image, [*around, [0, 0]])
    return image, tf.pad(labels, around, constant_values=VOID + _OUTSIDE)


def _draw(seed, most):
    return tf.random.stateless_uniform([], seed, 0, most + 1, tf.int32)


def _parted(image, labels):
    return image, tf.cast(tf.minimum(labels, VOID), tf.uint8), labels <= VOID
