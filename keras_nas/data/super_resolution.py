"""Training patches and evaluation images for super-resolution.

A patch is a square of a high-resolution image and the square that it covers at low resolution,
both turned and mirrored alike. Which patches a step of an epoch has is a function of the seed, the
epoch's number and the step's alone (`EpochDataset`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from keras_nas.data.epochs import EpochDataset
from keras_nas.data.image_pairs import (
    ImagePair,
    PairFiles,
    find_pair_files,
    read_pairs,
    read_tfds_pairs,
)
from keras_nas.data.pair_cache import cached_pairs, fingerprint
from keras_nas.data.pipeline import PARALLEL_CALLS, finished
from keras_nas.errors import KerasNasError, UsageError

ORIENTATIONS = 8


@dataclass(frozen=True)
class PatchConfig:
    """How training patches are taken. The defaults are FGNAS's (section 4.1) and EDSR's.

    Attributes:
        patch_size: Pixels a side at high resolution; a multiple of the scale.
        batch_size: Patches a step.
        steps_per_epoch: Batches an epoch.
        augment: Turn and mirror each patch in one of the 8 ways at random.
        value_range: The value of white in what the model sees, 1 or 255.
        seed: Of the patches, 0 or more.

    Raises:
        KerasNasError: A value is out of its range.
    """

    patch_size: int = 96
    batch_size: int = 16
    steps_per_epoch: int = 1000
    augment: bool = True
    value_range: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (
            ("patch_size", 1),
            ("batch_size", 1),
            ("steps_per_epoch", 1),
            ("seed", 0),
        ):
            value = getattr(self, name)
            if value < least:
                raise KerasNasError(f"`{name}` must be {least} or more. Received: {name}={value}")
        check_value_range(self.value_range)


def folder_pairs(
    folder: str | os.PathLike[str],
    scale: int = 2,
    shrink: int = 1,
    cache_dir: str | os.PathLike[str] | None = None,
) -> list[ImagePair]:
    """Reads every image of a folder in one of `find_pair_files`' layouts.

    Args:
        folder: Of images, or of a benchmark.
        scale: High over low resolution.
        shrink: First make each image smaller by this factor, see `make_pair`.
        cache_dir: None holds the images in memory; a folder holds them there, decoded.

    Raises:
        KerasNasError: The folder or an image is not as it must be; the file is named.
    """
    return file_pairs(find_pair_files(folder, scale), scale, shrink, cache_dir)


def file_pairs(
    files: Sequence[PairFiles],
    scale: int = 2,
    shrink: int = 1,
    cache_dir: str | os.PathLike[str] | None = None,
) -> list[ImagePair]:
    """Reads the images of `files`; arguments and errors as in `folder_pairs`."""
    if cache_dir is None:
        return list(read_pairs(files, scale, shrink))
    source = fingerprint(files, scale=scale, shrink=shrink)
    return cached_pairs(cache_dir, source, lambda: read_pairs(files, scale, shrink))


def div2k_pairs(
    split: str,
    scale: int = 2,
    data_dir: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
) -> list[ImagePair]:
    """Reads DIV2K through tensorflow-datasets, see `read_tfds_pairs`.

    Args:
        split: "train", "validation" or a slice.
        scale: 2, 3 or 4.
        data_dir: The folder that holds div2k/.
        cache_dir: None holds the images in memory (10 GB for the 800 of "train"); a folder holds
            them there, decoded.
        download: Whether to download and prepare the dataset where it is missing.

    Raises:
        KerasNasError: The dataset is missing, or has no such split.
    """

    def read() -> Iterator[ImagePair]:
        return read_tfds_pairs(split, scale, data_dir, download)

    if cache_dir is None:
        return list(read())
    return cached_pairs(
        cache_dir, {"split": split, "scale": scale, "data_dir": str(data_dir)}, read
    )


def training_patches(pairs: Sequence[ImagePair], config: PatchConfig | None = None) -> EpochDataset:
    """Random patches: each of an image drawn uniformly, at a place drawn uniformly.

    Example:

    ```python
    data = training_patches(folder_pairs("DIV2K_train_HR", scale=2))
    for low, high in data.epoch(0):          # (16, 48, 48, 3), (16, 96, 96, 3), float32
        ...
    ```

    Args:
        pairs: The images; one scale for all.
        config: How patches are taken.

    Returns:
        Batches (low, high) of float32 in 0 … `value_range`, shapes
        (batch_size, patch_size / scale, patch_size / scale, 3) and
        (batch_size, patch_size, patch_size, 3).

    Raises:
        KerasNasError: There are no images, their scales differ, `patch_size` is no multiple of
            the scale, or an image is smaller than a patch.
    """
    config = config or PatchConfig()
    cutter = _PatchCutter(pairs, config)
    steps = config.steps_per_epoch
    low_shape = (config.batch_size, cutter.low_size, cutter.low_size, 3)
    high_shape = (config.batch_size, config.patch_size, config.patch_size, 3)

    def load(key: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        low, high = tf.numpy_function(cutter.batch, [key], [tf.uint8, tf.uint8])
        low, high = tf.ensure_shape(low, low_shape), tf.ensure_shape(high, high_shape)
        return _to_range(low, config.value_range), _to_range(high, config.value_range)

    def batches(keys: tf.data.Dataset) -> tf.data.Dataset:
        return finished(keys.map(load, num_parallel_calls=PARALLEL_CALLS))

    def build_epoch(epoch: int, start: int) -> tf.data.Dataset:
        return batches(
            tf.data.Dataset.range(start, steps).map(
                lambda step: tf.stack([tf.constant(epoch, tf.int64), step])
            )
        )

    numbers = tf.data.Dataset.random(seed=config.seed, rerandomize_each_iteration=True)
    return EpochDataset(batches(numbers.take(steps).map(lambda n: tf.stack([n, n]))), build_epoch)


def whole_images(
    pairs: Sequence[ImagePair], value_range: float = 1.0, crop: int | None = None
) -> tf.data.Dataset:
    """Whole images in their order, one a batch, for validation.

    Args:
        pairs: The images; one scale for all.
        value_range: The value of white, 1 or 255.
        crop: If given, only the central rectangle of at most this many pixels a side at high
            resolution, which bounds the time that an image takes; a multiple of the scale.

    Returns:
        Batches (low, high) of float32 in 0 … `value_range`, shape (1, height, width, 3), height and
        width not known beforehand.

    Raises:
        KerasNasError: There are no images, their scales differ, or `crop` is no multiple of the
            scale.
    """
    scale = _common_scale(pairs)
    check_value_range(value_range)
    if crop is not None and (crop < scale or crop % scale):
        raise UsageError(f"`crop` must be a multiple of the scale {scale}. Received: crop={crop}")
    spec = tf.TensorSpec((1, None, None, 3), tf.uint8)

    def generate():
        for pair in pairs:
            yield tuple(image[np.newaxis] for image in _central(pair, crop))

    dataset = tf.data.Dataset.from_generator(generate, output_signature=(spec, spec))
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(len(pairs)))
    return finished(
        dataset.map(lambda low, high: (_to_range(low, value_range), _to_range(high, value_range)))
    )


def orient(image: np.ndarray, orientation: int) -> np.ndarray:
    """One of the 8 ways to turn and mirror: `orientation` % 4 quarter turns, mirrored from 4 on."""
    turned = np.rot90(image, orientation % 4)
    return turned[:, ::-1] if orientation >= 4 else turned


def check_value_range(value_range: float) -> None:
    """Raises a `KerasNasError` unless `value_range` is 1 or 255."""
    if value_range not in (1, 255):
        raise UsageError(f"`value_range` must be 1 or 255. Received: value_range={value_range}")


class _PatchCutter:
    """Cuts the patches of a step, which its key (two numbers) and the seed decide."""

    def __init__(self, pairs: Sequence[ImagePair], config: PatchConfig):
        self._pairs = list(pairs)
        self._config = config
        self._scale = _common_scale(pairs)
        self.low_size, rest = divmod(config.patch_size, self._scale)
        if rest:
            raise UsageError(
                f"`patch_size` must be a multiple of the scale {self._scale}. "
                f"Received: patch_size={config.patch_size}"
            )
        for pair in self._pairs:
            if min(pair.low.shape[:2]) < self.low_size:
                raise KerasNasError(
                    f"Image `{pair.name}` must have {config.patch_size} pixels or more a side, "
                    "the size of a training patch. "
                    f"Received: {pair.high.shape[1]}×{pair.high.shape[0]}"
                )

    def batch(self, key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([self._config.seed, *map(int, key)])
        patches = [self._draw(rng) for _ in range(self._config.batch_size)]
        lows, highs = zip(*patches, strict=True)
        return np.stack(lows), np.stack(highs)

    def _draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        pair = self._pairs[rng.integers(len(self._pairs))]
        row = rng.integers(pair.low.shape[0] - self.low_size + 1)
        column = rng.integers(pair.low.shape[1] - self.low_size + 1)
        orientation = int(rng.integers(ORIENTATIONS)) if self._config.augment else 0
        low = _square(pair.low, row, column, self.low_size)
        high = _square(pair.high, self._scale * row, self._scale * column, self._config.patch_size)
        return orient(low, orientation), orient(high, orientation)


def _square(image: np.ndarray, row: int, column: int, size: int) -> np.ndarray:
    return image[row : row + size, column : column + size]


def _central(pair: ImagePair, crop: int | None) -> tuple[np.ndarray, np.ndarray]:
    if crop is None:
        return pair.low, pair.high
    height, width = (min(size, crop // pair.scale) for size in pair.low.shape[:2])
    row, column = (pair.low.shape[0] - height) // 2, (pair.low.shape[1] - width) // 2
    low, high = (
        image[factor * row :, factor * column :][: factor * height, : factor * width]
        for factor, image in ((1, pair.low), (pair.scale, pair.high))
    )
    return low, high


def _to_range(images: tf.Tensor, value_range: float) -> tf.Tensor:
    return tf.cast(images, tf.float32) * (value_range / 255.0)


def _common_scale(pairs: Sequence[ImagePair]) -> int:
    scales = sorted({pair.scale for pair in pairs})
    if len(scales) != 1:
        raise KerasNasError(
            "The images must be one or more, of one scale. "
            f"Received: {len(pairs)} images of scales {scales}"
        )
    return scales[0]
