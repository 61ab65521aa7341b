"""One's own pictures for segmentation: pictures, and beside them the class of each pixel."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import PIL.Image

from keras_nas.data.broken_pictures import STOP, read_all
from keras_nas.data.class_folders import TEST, TRAIN, VALIDATION, folder_of_part
from keras_nas.data.images import list_images, opened, read_image
from keras_nas.data.label_colors import FILE_NAME, LabelColors, read_label_colors
from keras_nas.data.segmentation_augmentation import VOID
from keras_nas.errors import KerasNasError, UsageError

Arrays = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class SegmentationFolders:
    """Pictures by part.

    Attributes:
        class_names: By `label_colors.txt`, else the numbers up to the highest label.
        train: Pictures, uint8 (N, height, width, 3), and labels, uint8 (N, height, width).
        validation: The same; None where there is no such folder.
        test: The same; None where there is no such folder.
    """

    class_names: tuple[str, ...]
    train: Arrays
    validation: Arrays | None
    test: Arrays | None


def read_segmentation_folders(
    folder: str | os.PathLike[str] | None, image_size: int | None = None, broken: str = STOP
) -> SegmentationFolders:
    """Reads `folder/train/images/*.jpg`, `folder/train/labels/*.png`, and so on for test.

    Labels are PNG files, grey or with a palette, of the pictures' names and sizes; each pixel holds
    the number of its class, 255 where it does not count. With a file `label_colors.txt` in the
    folder (see `read_label_colors`), labels that are not grey have the colours that it says.
    `validation` may be there too; the parts may be spelt as in `list_class_folders`. Without parts,
    `folder/images` and `folder/labels` are to train on. CamVid, as SegNet's authors prepared it, is
    such a folder.

    Args:
        folder: The folder.
        image_size: Pixels of the longer side that pictures are brought to (bilinear, antialiased;
            labels to the nearest); None for their own size.
        broken: "stop" at a picture or labels that are missing, cannot be read or do not fit, or
            "skip" both, with a warning.

    Raises:
        UsageError: No folder is given, or the pictures end up in different sizes.
        KerasNasError: A part or file is missing, cannot be read or does not fit, or there are fewer
            than two classes.
    """
    if not folder:
        raise UsageError(
            "`data_dir` must name the folder that holds train/images and train/labels, or images "
            "and labels. Received: none"
        )
    root = Path(folder)
    if not root.is_dir():
        raise KerasNasError(f"No folder of pictures and labels at `{root}`: give the path of one.")
    places = {
        name: folder_of_part(root, spellings)
        for name, spellings in (("train", TRAIN), ("validation", VALIDATION), ("test", TEST))
    }
    if places["train"] is None:
        if not (root / "images").is_dir():
            raise KerasNasError(
                f"`{root}` must hold a folder `train` with images and labels, or these themselves."
            )
        places = {"train": root}
    colors = read_label_colors(root)
    parts = {
        name: _read(place, image_size, broken, colors)
        for name, place in places.items()
        if place is not None
    }
    sizes = {images.shape[1:3] for images, _ in parts.values()}
    if len(sizes) > 1:
        raise _different(root, sizes)
    known = [labels[labels != VOID] for _, labels in parts.values()]
    classes = 1 + max((int(each.max()) for each in known if each.size), default=0)
    names = tuple(map(str, range(classes))) if colors is None else colors.class_names
    if classes < 2 or classes > len(names):
        wanted = "two or more classes" if colors is None else f"{len(names)} classes at most"
        raise KerasNasError(f"The labels of `{root}` must have {wanted}. Received: {classes}")
    return SegmentationFolders(names, parts["train"], parts.get("validation"), parts.get("test"))


def _read(folder: Path, image_size: int | None, broken: str, colors: LabelColors | None) -> Arrays:
    files = list_images(folder / "images")

    def pair(path: Path) -> tuple[np.ndarray, np.ndarray]:
        return _pair(path, folder / "labels" / f"{path.stem}.png", image_size, colors)

    images, labels = zip(*read_all(pair, files, broken, folder)[0], strict=True)
    sizes = {each.shape for each in labels}
    if len(sizes) > 1:
        raise _different(folder, sizes)
    return np.stack(images), np.stack(labels)


def _pair(
    picture: Path, label: Path, image_size: int | None, colors: LabelColors | None
) -> tuple[np.ndarray, np.ndarray]:
    image, labels = read_image(picture), _read_labels(label, colors)
    if labels.shape != image.shape[:2]:
        raise KerasNasError(
            f"The labels `{label}` must have the size of their picture, {_size(image.shape)}. "
            f"Received: {_size(labels.shape)}"
        )
    if image_size is None or max(labels.shape) == image_size:
        return image, labels
    scale = image_size / max(labels.shape)
    height, width = (max(1, round(scale * side)) for side in labels.shape)

    def resized(array: np.ndarray, resampling: PIL.Image.Resampling) -> np.ndarray:
        return np.asarray(PIL.Image.fromarray(array).resize((width, height), resampling))

    return (
        resized(image, PIL.Image.Resampling.BILINEAR),
        resized(labels, PIL.Image.Resampling.NEAREST),
    )


def _read_labels(path: Path, colors: LabelColors | None) -> np.ndarray:
    if not path.is_file():
        raise KerasNasError(f"The labels `{path}` of a picture are missing.")
    with opened(path) as image:
        if colors is not None and image.mode in ("P", "RGB", "RGBA"):
            return colors.classes_of(np.asarray(image.convert("RGB")), path)
        if image.mode not in ("L", "P"):
            raise KerasNasError(
                f"The labels `{path}` must be grey or have a palette, one number a pixel, or there "
                f"must be a file {FILE_NAME} in the folder. Received: mode {image.mode}"
            )
        return np.asarray(image)


def _different(folder: Path, sizes: Collection[tuple[int, ...]]) -> UsageError:
    first, last = min(sizes), max(sizes)
    return UsageError(
        f"The pictures of `{folder}` must have one size, by `image_size` where only their scale "
        f"differs. Received: {_size(first)} and {_size(last)}"
    )


def _size(shape: Sequence[int]) -> str:
    return f"{shape[1]}×{shape[0]}"
