"""tf.data pipelines over images that fit in memory.

The decoded uint8 images are held once, as one tensor, which is the cache. What is shuffled is
their positions; a batch is gathered by its positions and augmented as a whole, so that the cost is
a few vectorised operations a batch. The random numbers of a batch come from a key of its own:
(seed, epoch, step) in `EpochDataset.epoch`, a tf.data random number in plain iteration. See
`augmentation` for why they are not keras-cv's.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from keras_nas.data.augmentation import Augmentation, augmented
from keras_nas.data.epochs import EpochDataset
from keras_nas.data.normalization import Normalization
from keras_nas.errors import UsageError

_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

PARALLEL_CALLS = min(_CORES, 16)
"""Batches that are prepared at once."""

_PREFETCHED = 2

Prepare = Callable[[tuple[tf.Tensor, ...], tf.Tensor], tuple[tf.Tensor, ...]]


def image_classification_data(
    images: np.ndarray,
    labels: np.ndarray,
    batch_size: int,
    *,
    training: bool,
    normalization: Normalization,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    image_size: int | None = None,
) -> EpochDataset | tf.data.Dataset:
    """Batches of standardised images and their labels.

    Args:
        images: uint8 (N, height, width, channels).
        labels: int (N,).
        batch_size: Images a batch.
        training: True shuffles, augments, leaves the last incomplete batch out, and gives an
            `EpochDataset`. False keeps the order and every image.
        normalization: Of the images' channels.
        augmentation: Of training images; None for none.
        seed: Of order and augmentation; training only.
        image_size: The images' side in pixels, to which they are resized (bilinear, antialiased)
            after augmentation; None for their own size.

    Returns:
        Batches (images, labels): float32 (batch, height, width, channels) and int64 (batch,),
        prefetched, in a deterministic order, with a known cardinality.

    Raises:
        KerasNasError: No images, not one label an image, another shape or dtype, a negative
            seed, or a training set smaller than a batch.
    """
    _check_images(images, labels, normalization)
    arrays = (images, labels.astype(np.int64))

    def resized(pixels: tf.Tensor) -> tf.Tensor:
        if image_size is None or pixels.shape[1:3] == (image_size, image_size):
            return pixels
        return tf.image.resize(pixels, [image_size, image_size], antialias=True)

    def prepare(batch: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
        return resized(normalization.apply(batch[0])), batch[1]

    def prepare_augmented(batch: tuple[tf.Tensor, ...], seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
        if augmentation is None:
            return prepare(batch)
        return resized(augmented(batch[0], seed, augmentation, normalization)), batch[1]

    if training:
        return training_data(arrays, prepare_augmented, batch_size, seed)
    return evaluation_data(arrays, prepare, batch_size)


def training_data(
    arrays: tuple[np.ndarray, ...], prepare: Prepare, batch_size: int, seed: int
) -> EpochDataset:
    """Shuffled, complete batches of examples that fit in memory.

    Args:
        arrays: Any number of arrays (N, …), example by example.
        prepare: `prepare(batch, seed)` makes the element of the dataset from the arrays' rows; it
            must draw its random numbers from `seed`, int32 (2,), alone.
        batch_size: Examples a batch.
        seed: Of the order and of `prepare`'s seeds.

    Raises:
        KerasNasError: `batch_size` is under 1, or over N; `seed` is negative.
    """
    examples = len(arrays[0])
    check_batch_size(batch_size, examples)
    check_seed(seed)
    steps = examples // batch_size
    held = tuple(tf.constant(array) for array in arrays)

    def element(positions: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return prepare(tuple(tf.gather(array, positions) for array in held), seed)

    def build_epoch(epoch: int, start: int) -> tf.data.Dataset:
        order = np.random.default_rng([seed, epoch]).permutation(examples)
        order = order[: steps * batch_size].reshape(steps, batch_size)
        positions = tf.data.Dataset.from_tensor_slices(order[start:])
        return finished(
            tf.data.Dataset.zip(positions, step_seeds(seed, epoch, start, steps)).map(
                element, num_parallel_calls=PARALLEL_CALLS
            )
        )

    positions = tf.data.Dataset.range(examples).shuffle(examples, seed=seed)
    positions = positions.batch(batch_size, drop_remainder=True)
    passes = tf.data.Dataset.zip(positions, pass_seeds(seed))
    return EpochDataset(
        finished(passes.map(element, num_parallel_calls=PARALLEL_CALLS)), build_epoch
    )


def evaluation_data(
    arrays: tuple[np.ndarray, ...],
    prepare: Callable[[tuple[tf.Tensor, ...]], tuple[tf.Tensor, ...]],
    batch_size: int,
) -> tf.data.Dataset:
    """Batches of examples that fit in memory, in their order, the last one perhaps smaller.

    Args:
        arrays: Any number of arrays (N, …), example by example.
        prepare: Makes the element of the dataset from the arrays' rows.
        batch_size: Examples a batch.
    """
    check_batch_size(batch_size)
    held = tuple(tf.constant(array) for array in arrays)
    return finished(
        tf.data.Dataset.range(len(arrays[0]))
        .batch(batch_size)
        .map(
            lambda positions: prepare(tuple(tf.gather(array, positions) for array in held)),
            num_parallel_calls=PARALLEL_CALLS,
        )
    )


def check_batch_size(batch_size: int, examples: int | None = None) -> None:
    """Raises a `KerasNasError` unless 1 ≤ `batch_size` ≤ `examples`."""
    if batch_size < 1:
        raise UsageError(f"`batch_size` must be 1 or more. Received: batch_size={batch_size}")
    if examples is not None and batch_size > examples:
        raise UsageError(
            f"`batch_size` must be at most the number of training examples, {examples}. "
            f"Received: batch_size={batch_size}"
        )


def check_seed(seed: int) -> None:
    """Raises a `KerasNasError` for a negative `seed`."""
    if seed < 0:
        raise UsageError(f"`seed` must be 0 or more. Received: seed={seed}")


def step_seeds(seed: int, epoch: int, start: int, stop: int) -> tf.data.Dataset:
    """A stateless seed, int32 (2,), for each of the steps `start` … `stop` − 1 of an epoch."""
    key = tf.random.fold_in(_key(seed), epoch)
    return tf.data.Dataset.range(start, stop).map(lambda step: tf.random.fold_in(key, step))


def pass_seeds(seed: int) -> tf.data.Dataset:
    """Stateless seeds without end, other ones in each pass over them."""
    numbers = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True)
    return numbers.map(lambda number: tf.random.fold_in(_key(seed), number))


def finished(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """`dataset` in a deterministic order, sharded by examples under tf.distribute, prefetched.

    tf.data's autotuning is off: on one or two cores it held up the end of one epoch in three by two
    to five seconds, and no batch came earlier for it.
    """
    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = False
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return dataset.with_options(options).prefetch(_PREFETCHED)


def _key(seed: int) -> tf.Tensor:
    return tf.constant([seed & 0x7FFFFFFF, seed >> 31 & 0x7FFFFFFF], tf.int32)


def _check_images(images: np.ndarray, labels: np.ndarray, normalization: Normalization) -> None:
    channels = len(normalization.mean)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != channels:
        raise UsageError(
            f"`images` must be uint8 (N, height, width, {channels}). "
            f"Received: {images.dtype} {images.shape}"
        )
    if len(images) == 0 or labels.shape != (len(images),):
        raise UsageError(
            "`images` must not be empty, and `labels` must have one class for each. "
            f"Received: {len(images)} images, labels of shape {labels.shape}"
        )
