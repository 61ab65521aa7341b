"""One's own pictures for classification: class folders, a CSV or .npz file, a set of TFDS."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from keras_nas.data.augmentation import Augmentation
from keras_nas.data.broken_pictures import STOP
from keras_nas.data.class_folders import list_class_folders
from keras_nas.data.class_pictures import PictureListing
from keras_nas.data.in_memory import Arrays, InMemory, LoadOptions, task_data
from keras_nas.data.normalization import normalization_of
from keras_nas.data.picture_csv import list_picture_csv
from keras_nas.data.picture_npz import PictureArrays, load_picture_npz
from keras_nas.data.pixels import STANDARDIZED
from keras_nas.data.subsets import TEST_SHARE, split_indices
from keras_nas.data.task_data import TaskData
from keras_nas.data.tfds_pictures import list_tfds_pictures

Place = str | os.PathLike[str]
Finder = Callable[[Place | None], PictureListing | PictureArrays]

FINDERS: dict[str, Finder] = {
    "class_folders": list_class_folders,
    "csv": list_picture_csv,
    "npz": load_picture_npz,
}
"""What finds the pictures of a data set, by its name."""


def load_own_pictures(
    find: Finder,
    name: str = "",
    /,
    *,
    data_dir: Place | None = None,
    batch_size: int = 128,
    seed: int = 0,
    train_examples: int | None = None,
    image_size: int | None = None,
    validation_share: float = 0.1,
    split_ratio: str | tuple[int, int] | None = None,
    augment: bool = True,
    cutout: int = 0,
    pixels: str = STANDARDIZED,
    pixel_mean: Sequence[float] = (),
    pixel_std: Sequence[float] = (),
    broken: str = STOP,
    channels: int = 0,
) -> TaskData:
    """Loads one's own pictures, which are held in memory as uint8.

    | name          | `data_dir`                                        | found by             |
    |---------------|---------------------------------------------------|----------------------|
    | class_folders | holds `CLASS/*.png`, or `train/CLASS/*.png`       | `list_class_folders` |
    | csv           | a .csv file of paths and labels, or its folder    | `list_picture_csv`   |
    | npz           | an .npz file of `x_train`, `y_train`, …, or its folder | `load_picture_npz` |
    | tfds:NAME     | holds tensorflow-datasets' folder `NAME`          | `list_tfds_pictures` |

    Where there is no part `test`, a fifth of the pictures (the classes in equal shares, chosen by
    `seed`) is kept for testing; where there is none for validation, `validation_share` of the rest.
    Each part comes in an order that `seed` gives.
    Pixels are standardised by the training pictures' own mean and deviation where `pixels` asks for
    nothing else.

    Args:
        find: Finds the pictures at a place.
        name: Of the data; by default that of `data_dir`.
        data_dir: The folder or the file.
        image_size: Needed where pictures differ in size.
        broken: "stop" at a picture that cannot be read, or "skip" it, with a warning.
        channels: 3, or 1 for grey pictures; 0 for 3, and for those of an .npz file.
        batch_size, seed, train_examples, validation_share, split_ratio, augment, cutout, pixels,
            pixel_mean, pixel_std: As for `load_in_memory` of `keras_nas.data.classification`.

    Raises:
        KerasNasError: As `load_in_memory`, `find` and `PictureListing.read`.
    """
    options = LoadOptions(
        data_dir, batch_size, seed, train_examples, image_size, validation_share, split_ratio,
        augment, False, (pixels, pixel_mean, pixel_std), cutout,
    )  # fmt: skip
    found = find(data_dir).read(image_size, broken, channels)
    images, labels = _mixed(found.train, seed)
    test = None if found.test is None else _mixed(found.test, seed)
    validation = None if found.validation is None else _mixed(found.validation, seed)
    if test is None:
        kept, held = split_indices(labels, TEST_SHARE, seed)
        test = (images[held], labels[held])
        images, labels = images[kept], labels[kept]
    source = InMemory(found.class_names, normalization_of(images), Augmentation())
    name = name or Path(os.fspath(data_dir or "")).name
    return task_data(name, source, options, (images, labels), test, validation)


def _mixed(part: Arrays, seed: int) -> Arrays:
    """The pictures in a random order, so that any of them in a row are of all classes."""
    images, labels = part
    order = np.random.default_rng(seed).permutation(len(labels))
    return images[order], labels[order]


load_class_folders = functools.partial(load_own_pictures, list_class_folders)
load_csv = functools.partial(load_own_pictures, list_picture_csv)
load_npz = functools.partial(load_own_pictures, load_picture_npz)


def tfds_loader(name: str) -> Callable[..., TaskData]:
    """The loader of a set of tensorflow-datasets, by its name there."""
    return functools.partial(load_own_pictures, functools.partial(list_tfds_pictures, name), name)
