"""One's own pictures with their classes, read into memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image

from keras_nas.data.broken import STOP, read_all
from keras_nas.data.images import read_image, size_of_image
from keras_nas.errors import KerasNasError, UsageError

Arrays = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class ClassPictures:
    """Pictures by part.

    Attributes:
        class_names: A label is a place in it.
        train: Images, uint8 (N, height, width, channels), and labels, int64 (N,).
        validation: The same; None where there is no such part.
        test: The same; None where there is no such part.
    """

    class_names: tuple[str, ...]
    train: Arrays
    validation: Arrays | None
    test: Arrays | None


class PictureFiles(NamedTuple):
    """The files of a part, and the class of each, int64 (N,)."""

    paths: Sequence[Path]
    labels: np.ndarray


def read_parts(
    parts: Mapping[str, PictureFiles],
    class_names: tuple[str, ...],
    root: Path,
    image_size: int | None = None,
    broken: str = STOP,
    channels: int = 0,
) -> ClassPictures:
    """Reads the pictures of all parts, in parallel.

    Args:
        parts: By "train", "validation" and "test", of which the last two may be missing.
        class_names: A label is a place in it.
        root: Where the pictures are, for messages.
        image_size: The side to which pictures are brought (bilinear, antialiased) where they are
            not all of one size.
        broken: "stop" at a picture that cannot be read, or "skip" it, with a warning.
        channels: 3, or 1 for grey; 0 for 3.

    Raises:
        UsageError: Pictures differ in size and there is no `image_size`.
        KerasNasError: A picture cannot be read, or with "skip" no picture of a class is left.
    """
    paths = [path for files in parts.values() for path in files.paths]
    images, read = _read(paths, image_size, root, broken, channels or 3)
    arrays: dict[str, Arrays] = {}
    first = 0
    for name, files in parts.items():
        own = (read >= first) & (read < first + len(files.paths))
        arrays[name] = images[own], files.labels[read[own] - first]
        first += len(files.paths)
        if not own.any():
            raise KerasNasError(f"No picture of part {name!r} of `{root}` can be read.")
    lost = np.setdiff1d(parts["train"].labels, arrays["train"][1])
    if len(lost):
        raise KerasNasError(
            f"No picture of class {class_names[lost[0]]!r} of `{root}` can be read, to train on."
        )
    return ClassPictures(class_names, arrays["train"], arrays.get("validation"), arrays.get("test"))


def _read(
    paths: Sequence[Path], image_size: int | None, root: Path, broken: str, channels: int
) -> tuple[np.ndarray, np.ndarray]:
    """The pictures that can be read, and their positions, int (N,)."""
    sizes = set(_sizes(paths, broken))
    side = _common_side(sizes, image_size, root)
    images, places = read_all(lambda path: _pixels(path, side, channels), paths, broken, root)
    return np.stack(images), np.array(places)


def _sizes(paths: Sequence[Path], broken: str) -> Iterator[tuple[int, int]]:
    for path in paths:
        try:
            yield size_of_image(path)
        except KerasNasError:
            if broken == STOP:
                raise


def _common_side(sizes: set[tuple[int, int]], image_size: int | None, root: Path) -> int | None:
    """The side that all pictures are brought to; None where they have one size."""
    if len(sizes) > 1 and image_size is None:
        (width, height), (wider, higher) = min(sizes), max(sizes)
        raise UsageError(
            f"`image_size` must be given, since the pictures of `{root}` differ in size, from "
            f"{width}×{height} to {wider}×{higher}. Received: none"
        )
    return image_size if len(sizes) > 1 else None


def _pixels(path: Path, side: int | None, channels: int) -> np.ndarray:
    image = read_image(path, channels)
    if side is None:
        return image
    picture = PIL.Image.fromarray(image[..., 0] if channels == 1 else image)
    resized = picture.resize((side, side), PIL.Image.Resampling.BILINEAR)
    return np.atleast_3d(np.asarray(resized))
