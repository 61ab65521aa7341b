"""Super-resolution data by name: the photographs, DIV2K, or a folder of pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from keras_nas.choices import SUPER_RESOLUTION_DATA
from keras_nas.data import photographs
from keras_nas.data.epochs import EpochDataset
from keras_nas.data.picture_pairs import PicturePair, find_pair_files, make_pair
from keras_nas.data.super_resolution import (
    PatchConfig,
    div2k_pairs,
    file_pairs,
    training_patches,
    whole_pictures,
)
from keras_nas.errors import KerasNasError
from keras_nas.file_checks import check_data_directory

NAMES = SUPER_RESOLUTION_DATA

_HELD_OUT_EVERY = 5


@dataclass(frozen=True, eq=False)
class SuperResolutionData:
    """Pictures to learn super-resolution from, and held-out ones to measure it on.

    Attributes:
        name: of the data, such as "photographs".
        train: batches of random patches; `train.epoch(e, start=n)` gives them anew.
        validation: the central parts of the held-out pictures, one a batch.
        test: the held-out pictures whole, one a batch.
        train_pairs, test_pairs: the pictures themselves.
        scale: high over low resolution.
        value_range: the value of white in the batches, 1 or 255.
        structure: None: there is no D_λ for DSO-NAS.
    """

    name: str
    train: EpochDataset
    validation: tf.data.Dataset
    test: tf.data.Dataset
    train_pairs: Sequence[PicturePair]
    test_pairs: Sequence[PicturePair]
    scale: int
    value_range: float
    structure: None = None

    def describe(self) -> str:
        """One line for the console.

        Example: "photographs: ×2 super-resolution, 29 pictures for training, 7 held out".
        """
        return (
            f"{self.name}: ×{self.scale} super-resolution, {len(self.train_pairs)} pictures for "
            f"training, {len(self.test_pairs)} held out"
        )


def load(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    scale: int = 2,
    patches: PatchConfig | None = None,
    validation_crop: int = 256,
    shrink: int = 1,
    cache_dir: str | os.PathLike[str] | None = None,
    download: bool = True,
) -> SuperResolutionData:
    """Loads super-resolution data.

    - "photographs": the photographs of Debian's wallpaper packages, halved; 7 of the 36 held out.
    - "div2k": DIV2K through tensorflow-datasets; its validation set is held out.
    - "folder": any folder in one of `find_pair_files`' layouts; every fifth picture by name, from
      the third on, is held out.

    Example:

    ```python
    data = load("photographs", patches=PatchConfig(patch_size=48, steps_per_epoch=500))
    model.fit(data.train, epochs=10)
    ```

    Args:
        name: one of `NAMES`.
        data_dir: for "photographs" see `data_directory`, for "div2k" `prepared_builder`; for
            "folder" the folder.
        scale: high over low resolution.
        patches: how training patches are taken; the papers' way by default.
        validation_crop: pixels a side, at high resolution, of the parts in `validation`.
        shrink: for "folder": make each picture smaller by this factor first.
        cache_dir: hold decoded pictures in this folder, not in memory; for "div2k" and "folder".
        download: whether to fetch photographs or DIV2K where they are missing.

    Raises:
        KerasNasError: another name, missing or damaged data, or a picture smaller than a patch.
    """
    check_data_directory(data_dir)
    patches = patches or PatchConfig()
    if name == "photographs":
        train, test = _photograph_pairs(scale, data_dir, download)
    elif name == "div2k":
        caches = [Path(cache_dir, split) if cache_dir else None for split in ("train", "test")]
        train = div2k_pairs("train", scale, data_dir, caches[0], download)
        test = div2k_pairs("validation", scale, data_dir, caches[1], download)
    elif name == "folder":
        train, test = _folder_pairs(scale, data_dir, shrink, cache_dir)
    else:
        raise KerasNasError(f"`name` must be one of {list(NAMES)}. Received: name={name!r}")
    return SuperResolutionData(
        name=name,
        train=training_patches(train, patches),
        validation=whole_pictures(test, patches.value_range, validation_crop),
        test=whole_pictures(test, patches.value_range),
        train_pairs=train,
        test_pairs=test,
        scale=scale,
        value_range=patches.value_range,
    )


def _photograph_pairs(
    scale: int, data_dir: str | os.PathLike[str] | None, download: bool
) -> tuple[list[PicturePair], list[PicturePair]]:
    if download:
        photographs.fetch(data_dir)
    train, test = (
        [make_pair(name, image, scale) for name, image in photographs.load(split, data_dir).items()]
        for split in ("train", "held_out")
    )
    return train, test


def _folder_pairs(
    scale: int,
    folder: str | os.PathLike[str] | None,
    shrink: int,
    cache_dir: str | os.PathLike[str] | None,
) -> tuple[list[PicturePair], list[PicturePair]]:
    if folder is None:
        raise KerasNasError("`data_dir` must name the folder of pictures. Received: None")
    files = find_pair_files(folder, scale)
    held_out = files[2::_HELD_OUT_EVERY]
    if not held_out:
        raise KerasNasError(
            f"`{folder}` must hold three pictures or more, so that one can be held out. "
            f"Received: {len(files)}"
        )
    pairs = file_pairs(files, scale, shrink, cache_dir)
    names = {file.name for file in held_out}
    return (
        [pair for pair in pairs if pair.name not in names],
        [pair for pair in pairs if pair.name in names],
    )
