"""Reading images from files, with errors that name the file."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image

from keras_nas.errors import KerasNasError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")


@dataclass(frozen=True)
class PictureBytes:
    """The content of a picture's file, where it does not stand in one.

    Attributes:
        name: What messages call it.
        content: All of it.
    """

    name: str
    content: bytes

    def __str__(self) -> str:
        return self.name


PictureFile = str | os.PathLike[str] | PictureBytes

_EIGHT_BIT_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")


def list_images(folder: str | os.PathLike[str]) -> list[Path]:
    """The PNG, JPEG and BMP files that lie directly in a folder, sorted by name.

    Hidden files are left out. The suffix is compared without regard to case.

    Raises:
        KerasNasError: `folder` is not a folder, or holds no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise KerasNasError(f"No folder of images at `{folder}`: give the path of one.")
    images = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )
    if not images:
        raise KerasNasError(
            f"No image in `{folder}`: it must hold files that end in {', '.join(IMAGE_SUFFIXES)}."
        )
    return images


def read_image(path: PictureFile, channels: int = 3) -> np.ndarray:
    """Reads an image of 8 bits a channel as RGB, or as grey.

    A grey image gets three equal channels, and of a coloured one the grey value is its luma (ITU-R
    601-2); transparency is dropped.

    Args:
        path: A PNG, JPEG or BMP file, or its content.
        channels: 3, or 1 for grey.

    Returns:
        uint8 array of shape (height, width, channels).

    Raises:
        KerasNasError: The file cannot be read, is damaged or cut short, or has more than 8 bits.
    """
    with opened(path) as image:
        if image.mode not in _EIGHT_BIT_MODES:
            raise KerasNasError(
                f"Image `{path}` must have 8 bits a channel: convert it. "
                f"Received: mode {image.mode}"
            )
        return np.atleast_3d(np.asarray(image.convert("L" if channels == 1 else "RGB")))


def size_of_image(path: PictureFile) -> tuple[int, int]:
    """Width and height of an image, from its head alone.

    Raises:
        KerasNasError: The file cannot be read, or is no image.
    """
    with opened(path) as image:
        return image.size


@contextlib.contextmanager
def opened(path: PictureFile) -> Iterator[PIL.Image.Image]:
    """An open image; whatever reading it raises names the file.

    Raises:
        KerasNasError: The file cannot be read, or is no image.
    """
    try:
        source = io.BytesIO(path.content) if isinstance(path, PictureBytes) else path
        with PIL.Image.open(source) as image:
            yield image
    except (OSError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        reason = str(error) or type(error).__name__
        raise KerasNasError(
            f"Image `{path}` cannot be read ({reason}): replace or remove it."
        ) from error


def crop_to_multiple(image: np.ndarray, multiple: int) -> np.ndarray:
    """Cuts rows below and columns to the right so that both sizes are multiples of `multiple`."""
    height, width = image.shape[:2]
    return image[: height - height % multiple, : width - width % multiple]
