"""Pascal VOC's segmentation images in the folder that VOCdevkit unpacks to.

Read are `ImageSets/Segmentation/{train,val,trainval}.txt`, `JPEGImages/*.jpg` and
`SegmentationClass/*.png`. Any data in this layout can be read, such as what `coco_voc.convert`
writes, or VOC with the additional labels of the SBD (as `SegmentationClassAug`, where that exists).
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_nas.data.segmentation_augmentation import VOID
from keras_nas.data.voc_image import CLASS_NAMES
from keras_nas.errors import KerasNasError, UsageError

SPLITS = ("train", "val", "trainval")
_LABEL_FOLDERS = ("SegmentationClassAug", "SegmentationClass")


def files(split: str, data_dir: str | os.PathLike[str] | None) -> tuple[np.ndarray, np.ndarray]:
    """The images of a split.

    Args:
        split: One of `SPLITS`.
        data_dir: The folder VOCdevkit, one above it, or VOC2012 itself.

    Returns:
        The paths of the images and of their classes, each an array of strings (N,).

    Raises:
        KerasNasError: Another split, no such folder, or a file is missing.
    """
    if split not in SPLITS:
        raise UsageError(f"`split` must be one of {SPLITS}. Received: split={split!r}")
    root = find(data_dir)
    listing = root / "ImageSets" / "Segmentation" / f"{split}.txt"
    if not listing.is_file():
        raise KerasNasError(f"VOC's list of images `{listing}` is missing.")
    names = listing.read_text(encoding="utf-8").split()
    folders = [root / folder for folder in _LABEL_FOLDERS if (root / folder).is_dir()]
    images = [root / "JPEGImages" / f"{name}.jpg" for name in names]
    labels = [
        next((f / f"{name}.png" for f in folders if (f / f"{name}.png").is_file()), None)
        for name in names
    ]
    for name, image, label in zip(names, images, labels, strict=True):
        if label is None or not image.is_file():
            missing = image if label is not None else root / "SegmentationClass" / f"{name}.png"
            raise KerasNasError(f"VOC's image `{missing}` of split {split} is missing.")
    return np.array([str(path) for path in images]), np.array([str(path) for path in labels])


def find(data_dir: str | os.PathLike[str] | None) -> Path:
    """The folder that holds JPEGImages.

    Raises:
        KerasNasError: There is none.
    """
    given = Path(data_dir or ".")
    for place in (".", "VOC2012", "VOCdevkit/VOC2012"):
        if (given / place / "JPEGImages").is_dir():
            return given / place
    raise KerasNasError(
        f"Pascal VOC is not in `{given}`: unpack VOCtrainval_11-May-2012.tar (from "
        "host.robots.ox.ac.uk/pascal/VOC/voc2012) and point `data_dir` at its VOCdevkit."
    )


def read(image_path: tf.Tensor, label_path: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """One image, uint8 (height, width, 3), and its classes, uint8 (height, width)."""
    image = tf.io.decode_jpeg(tf.io.read_file(image_path), channels=3)
    return image, decode_labels(tf.io.read_file(label_path))


def decode_labels(png: tf.Tensor) -> tf.Tensor:
    """The classes in a PNG: in VOC's colours, or as grey values.

    Colours that are none of VOC's are `VOID`.
    """
    colors = tf.cast(tf.io.decode_png(png, channels=3), tf.int32)
    keys = (colors[..., 0] * 256 + colors[..., 1]) * 256 + colors[..., 2]
    return tf.cast(_class_of_color().lookup(keys), tf.uint8)


def color_table() -> dict[int, int]:
    """The class of each colour as r · 65536 + g · 256 + b, and of each grey value."""
    used = [*range(len(CLASS_NAMES)), VOID]
    table = {number * 65793: number for number in used}
    for number in used:
        red, green, blue = (
            sum((number >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(8))
            for channel in range(3)
        )
        table[(red * 256 + green) * 256 + blue] = number
    return table


def _class_of_color() -> tf.lookup.StaticHashTable:
    table = color_table()
    return tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(
            tf.constant(list(table), tf.int32), tf.constant(list(table.values()), tf.int32)
        ),
        VOID,
    )
