"""One's own pictures with their classes, read into memory."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image

from keras_nas.data.broken_pictures import STOP, read_all
from keras_nas.data.images import PictureBytes, read_image, size_of_image
from keras_nas.data.subsets import balanced_subset
from keras_nas.errors import KerasNasError, UsageError

Arrays = tuple[np.ndarray, np.ndarray]
Pictures = Sequence[Path | PictureBytes]

_REMEMBERED_BYTES = 2**30


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
    """The files of a part, or their contents, and the class of each, int64 (N,)."""

    paths: Pictures
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class PictureListing:
    """Where pictures with their classes are.

    Attributes:
        class_names: A label is a place in it.
        parts: By "train", "validation" and "test", of which the last two may be missing.
        root: The folder or file that says so, for messages.
    """

    class_names: tuple[str, ...]
    parts: Mapping[str, PictureFiles]
    root: Path

    def sample(self, examples: int, seed: int) -> PictureListing:
        """Of the training pictures at most so many, the classes in equal shares."""
        paths, labels = self.parts["train"]
        chosen = balanced_subset(labels, min(examples, len(labels)), seed)
        train = PictureFiles([paths[place] for place in chosen], labels[chosen])
        return dataclasses.replace(self, parts={"train": train})

    def read(
        self, image_size: int | None = None, broken: str = STOP, channels: int = 0
    ) -> ClassPictures:
        """Reads the pictures of all parts, in parallel.

        Args:
            image_size: The side to which pictures are brought (bilinear, antialiased) where they
                are not all of one size.
            broken: "stop" at a picture that cannot be read, or "skip" it, with a warning.
            channels: 3, or 1 for grey; 0 for 3.

        Raises:
            UsageError: Pictures differ in size and there is no `image_size`.
            KerasNasError: A picture cannot be read, or with "skip" no picture of a class is left.
        """
        paths = [path for files in self.parts.values() for path in files.paths]
        images, read = _LAST.read(paths, image_size, self.root, broken, channels or 3)
        arrays: dict[str, Arrays] = {}
        first = 0
        for name, files in self.parts.items():
            own = (read >= first) & (read < first + len(files.paths))
            arrays[name] = images[own], files.labels[read[own] - first]
            first += len(files.paths)
            if not own.any():
                raise KerasNasError(f"No picture of part {name!r} of `{self.root}` can be read.")
        lost = np.setdiff1d(self.parts["train"].labels, arrays["train"][1])
        if len(lost):
            raise KerasNasError(
                f"No picture of class {self.class_names[lost[0]]!r} of `{self.root}` can be read, "
                "to train on."
            )
        return ClassPictures(
            self.class_names, arrays["train"], arrays.get("validation"), arrays.get("test")
        )


class _LastReading:
    """The pictures that were read last, up to a size: the stages of a run read them again."""

    def __init__(self) -> None:
        self._key: tuple = ()
        self._found: Arrays | None = None

    def read(
        self, paths: Pictures, image_size: int | None, root: Path, broken: str, channels: int
    ) -> Arrays:
        """The pictures that can be read, and their positions, int (N,)."""
        stamps = tuple((str(path), *_stamp(path)) for path in paths)
        key = (stamps, image_size, broken, channels)
        if self._found is None or key != self._key:
            self._found = None
            found = _read(paths, image_size, root, broken, channels)
            if found[0].nbytes > _REMEMBERED_BYTES:
                return found
            self._key, self._found = key, found
        return self._found


def _stamp(path: Path | PictureBytes) -> tuple[int, int]:
    """What changes with a file's content: when it was written (or a checksum), and its size."""
    if isinstance(path, PictureBytes):
        return zlib.crc32(path.content), len(path.content)
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


def _read(
    paths: Pictures, image_size: int | None, root: Path, broken: str, channels: int
) -> Arrays:
    sizes = set(_sizes(paths, broken))
    side = _common_side(sizes, image_size, root)
    images, places = read_all(lambda path: _pixels(path, side, channels), paths, broken, root)
    return np.stack(images), np.array(places)


def _sizes(paths: Pictures, broken: str) -> Iterator[tuple[int, int]]:
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


def _pixels(path: Path | PictureBytes, side: int | None, channels: int) -> np.ndarray:
    image = read_image(path, channels)
    if side is None:
        return image
    picture = PIL.Image.fromarray(image[..., 0] if channels == 1 else image)
    resized = picture.resize((side, side), PIL.Image.Resampling.BILINEAR)
    return np.atleast_3d(np.asarray(resized))


_LAST = _LastReading()
