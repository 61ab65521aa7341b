"""One's own pictures: a folder of folders, one for each class."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_nas.data.class_pictures import PictureFiles, PictureListing
from keras_nas.data.images import list_images
from keras_nas.errors import KerasNasError, UsageError

TRAIN, TEST = ("train", "training"), ("test", "testing")
VALIDATION = ("validation", "val", "valid")


def list_class_folders(folder: str | os.PathLike[str] | None) -> PictureListing:
    """Finds `folder/CLASS/*.png`, or `folder/train/CLASS/*.png` and so on for test and validation.

    PNG, JPEG and BMP files count; a grey picture gets three equal channels. Other names of the
    parts: `training`, `testing`, `val`, `valid`. Hidden folders are left out.

    Args:
        folder: The folder.

    Raises:
        UsageError: No folder is given.
        KerasNasError: There are fewer than two classes, a class without a picture, or a class
            that only the test or validation folder has.
    """
    if not folder:
        raise UsageError(
            "`data_dir` must name the folder that holds one folder of pictures for each class. "
            "Received: none"
        )
    root = Path(folder)
    if not root.is_dir():
        raise KerasNasError(f"No folder of classes at `{root}`: give the path of one.")
    train = folder_of_part(root, TRAIN) or root
    class_names = tuple(path.name for path in _folders(train))
    if len(class_names) < 2:
        raise KerasNasError(
            f"`{train}` must hold a folder of pictures for each of two or more classes. "
            f"Received: {list(class_names) or 'no folder'}"
        )
    parts = {"train": _files(train, class_names)}
    for name, spellings in (("validation", VALIDATION), ("test", TEST)):
        found = folder_of_part(root, spellings) if train != root else None
        if found is not None:
            parts[name] = _files(found, class_names)
    return PictureListing(class_names, parts, root)


def _folders(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def folder_of_part(root: Path, spellings: Sequence[str]) -> Path | None:
    """The folder of a part, which has one of the names, such as `TRAIN`; None if there is none."""
    return next((path for path in _folders(root) if path.name.lower() in spellings), None)


def _files(folder: Path, class_names: Sequence[str]) -> PictureFiles:
    names = [path.name for path in _folders(folder)]
    unknown = sorted(set(names) - set(class_names))
    if unknown:
        raise KerasNasError(
            f"The classes of `{folder}` must be of those to train on, {list(class_names)}. "
            f"Received: {unknown[0]!r}"
        )
    files = [list_images(folder / name) for name in names]
    labels = np.repeat([class_names.index(name) for name in names], [len(own) for own in files])
    return PictureFiles([path for own in files for path in own], labels.astype(np.int64))
