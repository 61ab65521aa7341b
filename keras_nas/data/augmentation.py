"""Random changes of training images, each a pure function of the images and a seed.

keras-cv's and Keras' own random layers draw from a generator that the layer carries
(`tf.random.Generator` in keras-cv's `BaseImageAugmentationLayer`, `keras.random.SeedGenerator` in
Keras'). Measured on keras-cv 0.9.0 and Keras 3.15 inside `tf.data.Dataset.map` with a fixed seed:
`RandomCrop`, `RandomFlip`, `RandomCutout`, `RandomCropAndResize` and `RandomErasing` give other
images on every run as soon as the map runs in parallel, and in a sequential map the state cannot
be placed at a given epoch and step, which a search that resumes in the middle of training needs.
So this module uses TensorFlow's stateless random numbers instead: same seed, same images, in any
order and on any number of threads. Everything works on whole batches.

References: He et al., Deep Residual Learning for Image Recognition, section 4.2 (pad 4, crop,
flip); DeVries and Taylor, Improved Regularization of Convolutional Neural Networks with Cutout;
Szegedy et al., Going Deeper with Convolutions, section 6 (random-area crop).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import tensorflow as tf

from keras_nas.data.normalization import Normalization
from keras_nas.errors import KerasNasError, UsageError


@dataclass(frozen=True)
class Augmentation:
    """How training images are changed.

    Attributes:
        pad: The images are padded by so many pixels on each side, then cropped back to their
            size at a random place; 0 for no crop.
        pad_with: "mean" pads with the channels' mean, which is 0 after standardisation (He et al.,
            DSO-NAS section 4.2; `Normalization.fill`); "black" with pixel 0.
        flip: Mirror one image in two left to right.
        cutout: The side in pixels of a square that is set to the mean; 0 for none (16 in DSO-NAS).

    Raises:
        KerasNasError: A negative `pad` or `cutout`, or another `pad_with`.
    """

    pad: int = 4
    pad_with: Literal["mean", "black"] = "mean"
    flip: bool = True
    cutout: int = 0

    def __post_init__(self) -> None:
        for name in ("pad", "cutout"):
            if getattr(self, name) < 0:
                raise KerasNasError(f"`{name}` must be 0 or more. Received: {getattr(self, name)}")
        if self.pad_with not in ("mean", "black"):
            raise UsageError(
                f'`pad_with` must be "mean" or "black". Received: pad_with={self.pad_with!r}'
            )


def augmented(
    images: tf.Tensor, seed: tf.Tensor, augmentation: Augmentation, normalization: Normalization
) -> tf.Tensor:
    """Changes a batch as `augmentation` says, and standardises it.

    Args:
        images: uint8 (batch, height, width, channels).
        seed: int (2,).
        augmentation: What is done.
        normalization: Of the images' channels.

    Returns:
        Float32, in the shape of `images`.
    """
    crop_seed, cutout_seed = tf.unstack(tf.random.split(seed, 2))
    images, inside = random_crop_flip(images, crop_seed, augmentation.pad, augmentation.flip)
    if augmentation.pad_with == "black":
        images = normalization.apply(tf.where(inside, images, tf.zeros([], images.dtype)))
    else:
        images = tf.where(inside, normalization.apply(images), normalization.padding)
    if augmentation.cutout:
        images = random_cutout(images, cutout_seed, augmentation.cutout, normalization.padding)
    return images


def random_crop_flip(
    images: tf.Tensor, seed: tf.Tensor, pad: int, flip: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    """Pads by `pad` on each side, crops back to the size at a random place, mirrors one in two.

    The padding is not filled here, since what fills it (black, or the mean) is the caller's matter.

    Args:
        images: (batch, height, width, channels), any dtype.
        seed: int (2,).
        pad: Pixels; 0 for no crop.
        flip: Whether images are mirrored left to right with probability 1/2.

    Returns:
        The images, and which pixels lie inside the original, bool (batch, height, width, 1);
        pixels outside hold the nearest border pixel.
    """
    shape = tf.shape(images)
    batch, height, width = shape[0], shape[1], shape[2]
    crop_seed, flip_seed = tf.unstack(tf.random.split(seed, 2))
    shifts = tf.random.stateless_uniform(
        [2, batch, 1], crop_seed, minval=-pad, maxval=pad + 1, dtype=tf.int32
    )
    rows = tf.range(height)[tf.newaxis] + shifts[0]
    columns = tf.range(width)[tf.newaxis] + shifts[1]
    if flip:
        mirrored = tf.random.stateless_uniform([batch, 1], flip_seed) < 0.5
        columns = tf.where(mirrored, columns[:, ::-1], columns)
    inside = _within(rows, height)[:, :, tf.newaxis] & _within(columns, width)[:, tf.newaxis, :]
    rows, columns = tf.clip_by_value(rows, 0, height - 1), tf.clip_by_value(columns, 0, width - 1)
    images = tf.gather(tf.gather(images, rows, axis=1, batch_dims=1), columns, axis=2, batch_dims=1)
    return images, inside[..., tf.newaxis]


def random_cutout(
    images: tf.Tensor, seed: tf.Tensor, size: int, fill: np.ndarray | float = 0.0
) -> tf.Tensor:
    """Sets a square of `size` pixels at a random place of each image to the mean.

    The centre is uniform over the image, so that the square may stick out of it.

    Args:
        images: Float (batch, height, width, channels).
        seed: int (2,).
        size: The square's side in pixels.
        fill: What it is set to, one number or one a channel; 0 is the mean of standardised images.
    """
    shape = tf.shape(images)
    batch, height, width = shape[0], shape[1], shape[2]
    centres = tf.random.stateless_uniform([2, batch, 1], seed)
    first = tf.cast(centres * tf.cast([[[height]], [[width]]], tf.float32), tf.int32) - size // 2
    rows = tf.range(height)[tf.newaxis] - first[0]
    columns = tf.range(width)[tf.newaxis] - first[1]
    cut = _within(rows, size)[:, :, tf.newaxis] & _within(columns, size)[:, tf.newaxis, :]
    return tf.where(cut[..., tf.newaxis], tf.cast(fill, images.dtype), images)


def random_resized_crop(
    jpeg: tf.Tensor,
    seed: tf.Tensor,
    size: int,
    area: tuple[float, float] = (0.08, 1.0),
    aspect_ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> tf.Tensor:
    """Inception's crop: a part of random area and shape, scaled to a square, mirrored one in two.

    Args:
        jpeg: One encoded JPEG, a string scalar. Only the part that is kept is decoded.
        seed: int (2,).
        size: The side of the result.
        area: The range of the part's share of the image's area.
        aspect_ratio: The range of the part's width / height.

    Returns:
        Float32 (size, size, 3) in 0 … 255.
    """
    box_seed, flip_seed = tf.unstack(tf.random.split(seed, 2))
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.image.extract_jpeg_shape(jpeg),
        tf.zeros([0, 0, 4]),
        seed=box_seed,
        min_object_covered=0.0,
        area_range=area,
        aspect_ratio_range=aspect_ratio,
        use_image_if_no_bounding_boxes=True,
    )
    window = tf.concat([begin[:2], extent[:2]], axis=0)
    image = tf.image.decode_and_crop_jpeg(jpeg, window, channels=3)
    image = tf.image.resize(image, [size, size], antialias=True)
    return tf.image.stateless_random_flip_left_right(image, flip_seed)


def central_crop(image: tf.Tensor, size: int, resize: int) -> tf.Tensor:
    """Scales the shorter side to `resize` and takes the central square of side `size`.

    Args:
        image: One image, (height, width, channels), any number dtype.
        size: The side of the result.
        resize: The shorter side before the crop, at least `size`.

    Returns:
        Float32 (size, size, channels), in the input's range.
    """
    sides = tf.cast(tf.shape(image)[:2], tf.float32)
    scaled = tf.cast(tf.round(sides * resize / tf.reduce_min(sides)), tf.int32)
    image = tf.image.resize(image, scaled, antialias=True)
    return tf.image.crop_to_bounding_box(
        image, (scaled[0] - size) // 2, (scaled[1] - size) // 2, size, size
    )


def _within(positions: tf.Tensor, length: tf.Tensor | int) -> tf.Tensor:
    return (positions >= 0) & (positions < length)
