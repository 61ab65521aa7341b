"""One's own pictures: a folder of folders, one for each class."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image

from keras_nas.data.images import list_images, read_image, size_of_image
from keras_nas.errors import KerasNasError, UsageError

TRAIN, TEST = ("train", "training"), ("test", "testing")
VALIDATION = ("validation", "val", "valid")

Arrays = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class ClassFolders:
    """Pictures by part.

    Attributes:
        class_names: The names of the class folders, sorted; a label is a place in it.
        train: Images, uint8 (N, height, width, 3), and labels, int64 (N,).
        validation: The same; None where there is no such folder.
        test: The same; None where there is no such folder.
    """

    class_names: tuple[str, ...]
    train: Arrays
    validation: Arrays | None
    test: Arrays | None


def read_class_folders(
    folder: str | os.PathLike[str] | None, image_size: int | None = None
) -> ClassFolders:
    """Reads `folder/CLASS/*.png`, or `folder/train/CLASS/*.png` and so on for test and validation.

    PNG, JPEG and BMP files count; a grey picture gets three equal channels. Other names of the
    parts: `training`, `testing`, `val`, `valid`. Hidden folders are left out.

    Args:
        folder: The folder.
        image_size: The side to which pictures are brought (bilinear, antialiased) where they are
            not all of one size.

    Raises:
        UsageError: No folder is given, or pictures differ in size and there is no `image_size`.
        KerasNasError: There are fewer than two classes, a class without a picture, a class that
            only the test or validation folder has, or a picture that cannot be read.
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
    images = _read([path for files, _ in parts.values() for path in files], image_size, root)
    arrays: dict[str, Arrays] = {}
    start = 0
    for name, (files, labels) in parts.items():
        arrays[name] = (images[start : start + len(files)], labels)
        start += len(files)
    return ClassFolders(class_names, arrays["train"], arrays.get("validation"), arrays.get("test"))


def _folders(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def folder_of_part(root: Path, spellings: Sequence[str]) -> Path | None:
    """The folder of a part, which has one of the names, such as `TRAIN`; None if there is none."""
    return next((path for path in _folders(root) if path.name.lower() in spellings), None)


def _files(folder: Path, class_names: Sequence[str]) -> tuple[list[Path], np.ndarray]:
    names = [path.name for path in _folders(folder)]
    unknown = sorted(set(names) - set(class_names))
    if unknown:
        raise KerasNasError(
            f"The classes of `{folder}` must be of those to train on, {list(class_names)}. "
            f"Received: {unknown[0]!r}"
        )
    files = [list_images(folder / name) for name in names]
    labels = np.repeat([class_names.index(name) for name in names], [len(own) for own in files])
    return [path for own in files for path in own], labels.astype(np.int64)


def _read(files: Sequence[Path], image_size: int | None, root: Path) -> np.ndarray:
    sizes = set(map(size_of_image, files))
    side = None if len(sizes) == 1 else image_size
    if len(sizes) > 1 and image_size is None:
        (width, height), (wider, higher) = min(sizes), max(sizes)
        raise UsageError(
            f"`image_size` must be given, since the pictures of `{root}` differ in size, from "
            f"{width}×{height} to {wider}×{higher}. Received: none"
        )

    def pixels(path: Path) -> np.ndarray:
        image = read_image(path)
        if side is None:
            return image
        resized = PIL.Image.fromarray(image).resize((side, side), PIL.Image.Resampling.BILINEAR)
        return np.asarray(resized)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        return np.stack(list(pool.map(pixels, files)))
