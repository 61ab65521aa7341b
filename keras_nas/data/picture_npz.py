"""One's own pictures: the arrays of an .npz file."""

from __future__ import annotations

import dataclasses
import os
import zipfile
from pathlib import Path

import numpy as np

from keras_nas.data.broken_pictures import STOP
from keras_nas.data.class_pictures import Arrays, ClassPictures
from keras_nas.data.labels import as_sparse
from keras_nas.data.subsets import balanced_subset
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.file_checks import only_file

_VALIDATION = ("val", "validation")
_NAMES = "class_names"


@dataclasses.dataclass(frozen=True)
class PictureArrays:
    """Pictures that are in memory already, as what a `PictureListing` is of files.

    Attributes:
        pictures: All of them.
        path: The file that they come from, for messages.
    """

    pictures: ClassPictures
    path: Path

    def sample(self, examples: int, seed: int) -> PictureArrays:
        """Of the training pictures at most so many, the classes in equal shares."""
        images, labels = self.pictures.train
        chosen = balanced_subset(labels, min(examples, len(labels)), seed)
        train = images[chosen], labels[chosen]
        return PictureArrays(ClassPictures(self.pictures.class_names, train, None, None), self.path)

    def read(
        self, image_size: int | None = None, broken: str = STOP, channels: int = 0
    ) -> ClassPictures:
        """The pictures.

        Args:
            image_size, broken: Play no part: they have one size, and none is broken.
            channels: What they must have; 0 for what they have.

        Raises:
            UsageError: They have other `channels`.
        """
        found = self.pictures.train[0].shape[-1]
        if channels not in (0, found):
            raise UsageError(
                f"`channels` must be 0 or those of `{self.path}`, {found}. "
                f"Received: channels={channels}"
            )
        return self.pictures


def load_picture_npz(place: str | os.PathLike[str] | None) -> PictureArrays:
    """Reads `x_train`, `y_train` and, if they are there, `x_test`, `y_test`, `x_val`, `y_val`.

    Images are uint8 (N, height, width) or (N, height, width, channels), labels classes from 0,
    (N,) or (N, 1), or one-hot (N, classes). An array `class_names` may name the classes; else they
    are called 0, 1, …. The files of `keras.datasets`, such as mnist.npz, are such files.

    Args:
        place: The .npz file, or a folder that holds one.

    Raises:
        UsageError: No file is given.
        KerasNasError: The file cannot be read, an array is missing or of another kind, labels are
            not classes, or there are fewer than two.
    """
    path = only_file(place, ".npz")
    arrays, every = _load(path)
    for name in ("x_train", "y_train"):
        if name not in every:
            raise KerasNasError(
                f"`{path}` must hold the array `{name}`. Received: {sorted(every) or 'none'}"
            )
    parts = {name: _part(path, arrays, spelt) for name, spelt in _spellings(arrays).items()}
    highest = {name: int(labels.max()) for name, (_, labels) in parts.items()}
    classes = highest["train"] + 1
    for name, label in highest.items():
        if label >= classes:
            raise KerasNasError(
                f"The labels of {name} in `{path}` must be of those to train on, 0 to "
                f"{classes - 1}. Received: {label}"
            )
    if classes < 2:
        raise KerasNasError(f"`{path}` must have two or more classes. Received: one")
    shapes = {images.shape[1:] for images, _ in parts.values()}
    if len(shapes) > 1:
        raise KerasNasError(
            f"The images of all parts of `{path}` must have one shape. "
            f"Received: {' and '.join(map(str, sorted(shapes)))}"
        )
    names = tuple(map(str, arrays.get(_NAMES, np.arange(classes)).tolist()))
    if len(names) < classes:
        raise KerasNasError(
            f"`{_NAMES}` in `{path}` must name each of the {classes} classes. "
            f"Received: {len(names)}"
        )
    pictures = ClassPictures(names, parts["train"], parts.get("validation"), parts.get("test"))
    return PictureArrays(pictures, path)


def _load(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays that are wanted, and the names of all."""
    if not zipfile.is_zipfile(path):
        raise KerasNasError(f"`{path}` cannot be read as an .npz file: it is no zip archive.")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            wanted = [n for n in arrays.files if n[:2] in ("x_", "y_") or n == _NAMES]
            return {name: arrays[name] for name in wanted}, arrays.files
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise KerasNasError(f"`{path}` cannot be read as an .npz file ({error}).") from error


def _spellings(arrays: dict[str, np.ndarray]) -> dict[str, str]:
    """The parts that there are, and what their arrays' names end in."""
    found = {"train": "train"}
    for name, spellings in (("validation", _VALIDATION), ("test", ("test",))):
        spelt = next((each for each in spellings if f"x_{each}" in arrays), None)
        if spelt is not None:
            found[name] = spelt
    return found


def _part(path: Path, arrays: dict[str, np.ndarray], spelt: str) -> Arrays:
    for name in (f"x_{spelt}", f"y_{spelt}"):
        if name not in arrays:
            raise KerasNasError(
                f"`{path}` must hold the array `{name}`. Received: {sorted(arrays) or 'none'}"
            )
    images, labels = arrays[f"x_{spelt}"], arrays[f"y_{spelt}"]
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        advice = "; multiply by 255 first" if images.dtype.kind == "f" else ""
        raise KerasNasError(
            f"`x_{spelt}` in `{path}` must be uint8 (N, height, width, channels){advice}. "
            f"Received: {images.dtype} {images.shape}"
        )
    if images.ndim == 3:
        images = images[..., np.newaxis]
    labels = _classes(path, f"y_{spelt}", labels)
    if len(images) != len(labels) or not len(images):
        raise KerasNasError(
            f"`x_{spelt}` and `y_{spelt}` in `{path}` must have the same number of examples, and "
            f"not be empty. Received: {len(images)} and {len(labels)}"
        )
    return images, labels


def _classes(path: Path, name: str, labels: np.ndarray) -> np.ndarray:
    labels = as_sparse(labels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    whole = labels.dtype.kind in "iub" or (
        labels.dtype.kind == "f" and bool(np.all(labels == np.floor(labels)))
    )
    if labels.ndim != 1 or not whole or (labels.size and labels.min() < 0):
        raise KerasNasError(
            f"`{name}` in `{path}` must be classes from 0, (N,), or one-hot, (N, classes). "
            f"Received: {labels.dtype} {labels.shape}"
        )
    return labels.astype(np.int64)
