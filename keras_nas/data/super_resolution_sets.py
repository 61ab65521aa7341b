"""Super-resolution data: the photographs, DIV2K, or a folder of images."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from keras_nas.data import photographs
from keras_nas.data.epochs import EpochDataset
from keras_nas.data.image_pairs import ImagePair, find_pair_files, make_pair
from keras_nas.data.super_resolution import (
    PatchConfig,
    div2k_pairs,
    file_pairs,
    training_patches,
    whole_images,
)
from keras_nas.data.task_data import DataSet
from keras_nas.errors import KerasNasError, UsageError

_HELD_OUT_EVERY = 5
_HD_OUTPUT = (720, 1280)


Pairs = tuple[Sequence[ImagePair], Sequence[ImagePair]]


@dataclass(frozen=True, eq=False)
class SuperResolutionData(DataSet):
    """Images to learn super-resolution from, and held-out ones to measure it on.

    Attributes:
        name: Of the data, such as "photographs".
        train: Batches of random patches; `train.epoch(e, start=n)` gives them anew.
        validation: The central parts of the held-out images, one a batch.
        test: The held-out images whole, one a batch.
        train_pairs, test_pairs: The images themselves.
        scale: High over low resolution.
        value_range: The value of white in the batches, 1 or 255.
        structure: None: there is no D_λ for DSO-NAS.
    """

    task = "super_resolution"
    resizes = False

    name: str
    train: EpochDataset
    validation: tf.data.Dataset
    test: tf.data.Dataset
    train_pairs: Sequence[ImagePair]
    test_pairs: Sequence[ImagePair]
    scale: int
    value_range: float
    structure: None = None

    def describe(self) -> str:
        """One line for the console.

        Example: "photographs: ×2 super-resolution, 29 images for training, 7 held out".
        """
        return (
            f"{self.name}: ×{self.scale} super-resolution, {len(self.train_pairs)} images for "
            f"training, {len(self.test_pairs)} held out"
        )

    def builder_arguments(self):
        return {"scale": self.scale, "value_range": self.value_range}

    def counting_shape(self, input_shape):
        """Of a network of open size that which gives 1280×720, as papers count."""
        if None not in input_shape:
            return None
        height, width = (size // self.scale for size in _HD_OUTPUT)
        return height, width, input_shape[-1]


def load_super_resolution(
    name: str,
    read: Callable[..., Pairs],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    scale: int = 2,
    patch_size: int = PatchConfig.patch_size,
    batch_size: int = PatchConfig.batch_size,
    steps_per_epoch: int = PatchConfig.steps_per_epoch,
    augment: bool = PatchConfig.augment,
    value_range: float = PatchConfig.value_range,
    seed: int = PatchConfig.seed,
    validation_crop: int = 256,
    shrink: int = 1,
    cache_dir: str | os.PathLike[str] | None = None,
    download: bool = True,
) -> SuperResolutionData:
    """Loads a super-resolution set.

    - "photographs": the photographs of Debian's wallpaper packages, halved; 7 of the 36 held out.
    - "div2k": DIV2K through tensorflow-datasets; its validation set is held out.
    - "folder": any folder in one of `find_pair_files`' layouts; every fifth image by name, from
      the third on, is held out.

    Args:
        name: Of the data set.
        read: Gives the images to train on and those held out, of `data_dir` and the options
            `scale`, `shrink`, `cache_dir` and `download`.
        data_dir: For "photographs" see `data_directory`, for "div2k" `prepared_builder`; for
            "folder" the folder.
        scale: High over low resolution.
        patch_size: Pixels a side of a training patch at high resolution.
        batch_size: Patches a step.
        steps_per_epoch: Batches an epoch.
        augment: Turn and mirror each patch in one of the 8 ways at random.
        value_range: The value of white in the batches, 1 or 255.
        seed: Of the patches.
        validation_crop: Pixels a side, at high resolution, of the parts in `validation`.
        shrink: For "folder": make each image smaller by this factor first.
        cache_dir: Hold decoded images in this folder, not in memory; for "div2k" and "folder".
        download: Whether to fetch photographs or DIV2K where they are missing.

    Raises:
        KerasNasError: Missing or damaged data, or an image smaller than a patch.
    """
    patches = PatchConfig(
        patch_size, batch_size, steps_per_epoch, augment, float(value_range), seed
    )
    train, test = read(data_dir, scale, shrink, cache_dir, download)
    return SuperResolutionData(
        name=name,
        train=training_patches(train, patches),
        validation=whole_images(test, patches.value_range, validation_crop),
        test=whole_images(test, patches.value_range),
        train_pairs=train,
        test_pairs=test,
        scale=scale,
        value_range=patches.value_range,
    )


def _photograph_pairs(data_dir, scale, shrink, cache_dir, download) -> Pairs:
    if download:
        photographs.fetch(data_dir)
    train, test = (
        [make_pair(name, image, scale) for name, image in photographs.load(split, data_dir).items()]
        for split in ("train", "held_out")
    )
    return train, test


def _div2k_pairs(data_dir, scale, shrink, cache_dir, download) -> Pairs:
    caches = [Path(cache_dir, split) if cache_dir else None for split in ("train", "test")]
    return (
        div2k_pairs("train", scale, data_dir, caches[0], download),
        div2k_pairs("validation", scale, data_dir, caches[1], download),
    )


def _folder_pairs(folder, scale, shrink, cache_dir, download) -> Pairs:
    if folder is None:
        raise UsageError("`data_dir` must name the folder of images. Received: None")
    files = find_pair_files(folder, scale)
    held_out = files[2::_HELD_OUT_EVERY]
    if not held_out:
        raise KerasNasError(
            f"`{folder}` must hold three images or more, so that one can be held out. "
            f"Received: {len(files)}"
        )
    pairs = file_pairs(files, scale, shrink, cache_dir)
    names = {file.name for file in held_out}
    return (
        [pair for pair in pairs if pair.name not in names],
        [pair for pair in pairs if pair.name in names],
    )


load_photographs = functools.partial(load_super_resolution, "photographs", _photograph_pairs)
load_div2k = functools.partial(load_super_resolution, "div2k", _div2k_pairs)
load_folder = functools.partial(load_super_resolution, "folder", _folder_pairs)
