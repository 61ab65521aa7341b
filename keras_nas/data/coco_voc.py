"""COCO's panoptic images as training data for VOC's 20 classes.

tensorflow-datasets' `coco/2017_panoptic` is written once into a folder in VOC's layout, which
`voc_folder` reads: images with one of VOC's classes in them, all other classes as background,
crowds of a VOC class as void.

Reference: Lin et al., Microsoft COCO (2014); the panoptic format of Kirillov et al. (2019).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from keras_nas.data.segmentation_augmentation import VOID
from keras_nas.data.tensorflow_datasets_source import prepared_builder
from keras_nas.data.voc_image import CLASS_NAMES
from keras_nas.files import atomic_path, atomic_write_text

_VOC_NAMES = {
    "airplane": "aeroplane",
    "motorcycle": "motorbike",
    "dining table": "diningtable",
    "potted plant": "pottedplant",
    "couch": "sofa",
    "tv": "tvmonitor",
}
_SPLITS = {"train": "train", "val": "validation"}


def voc_class(coco_name: str) -> int:
    """VOC's class of a COCO class by its name: 1 to 20, or 0 where VOC has none.

    >>> voc_class("couch"), voc_class("giraffe")
    (18, 0)
    """
    name = _VOC_NAMES.get(coco_name, coco_name)
    return CLASS_NAMES.index(name) if name in CLASS_NAMES else 0


def voc_labels(
    panoptic: np.ndarray, objects: Mapping[str, Iterable], name_of: Callable[[int], str]
) -> np.ndarray:
    """The classes of an image's pixels.

    Args:
        panoptic: uint8 (height, width, 3), the segments' numbers as r + 256 g + 65536 b.
        objects: The segments: "id", "label" and "is_crowd", one entry each.
        name_of: Gives the COCO name of a label.

    Returns:
        uint8 (height, width) of 0 … 20, and `VOID`.
    """
    numbers = panoptic.astype(np.int64) @ np.array([1, 256, 65536])
    labels = np.zeros(numbers.shape, np.uint8)
    for number, label, crowd in zip(
        objects["id"], objects["label"], objects["is_crowd"], strict=True
    ):
        found = voc_class(name_of(int(label)))
        if found:
            labels[numbers == int(number)] = VOID if crowd else found
    return labels


def convert(folder: str | os.PathLike[str], data_dir: str | os.PathLike[str] | None = None) -> Path:
    """Writes COCO in VOC's layout, from the prepared `coco/2017_panoptic` of tensorflow-datasets.

    Args:
        folder: Where to write; a folder that is complete is left alone.
        data_dir: Where tensorflow-datasets keeps its data, see `prepared_builder`.

    Returns:
        The folder.

    Raises:
        KerasNasError: The data set cannot be had.
    """
    root = Path(folder)
    if all(_listing(root, split).is_file() for split in _SPLITS):
        return root
    builder = prepared_builder("coco/2017_panoptic", data_dir, download=True)
    name_of = builder.info.features["panoptic_objects"]["label"].int2str
    for split, source in _SPLITS.items():
        records = builder.as_dataset(split=source).as_numpy_iterator()
        write_split(root, split, records, name_of)
    return root


def write_split(
    root: Path, split: str, records: Iterable[Mapping[str, Any]], name_of: Callable[[int], str]
) -> int:
    """Writes the records that have one of VOC's classes; the list of them last.

    Args:
        root: The folder.
        split: "train" or "val".
        records: "image", "image/id", "panoptic_image" and "panoptic_objects" of each.
        name_of: Gives the COCO name of a label.

    Returns:
        How many images were written.
    """
    names = []
    for record in records:
        labels = voc_labels(record["panoptic_image"], record["panoptic_objects"], name_of)
        if not np.any((labels > 0) & (labels < VOID)):
            continue
        name = f"{int(record['image/id']):012d}"
        with atomic_path(root / "JPEGImages" / f"{name}.jpg") as path:
            Image.fromarray(record["image"]).save(path, quality=95)
        with atomic_path(root / "SegmentationClass" / f"{name}.png") as path:
            Image.fromarray(labels).save(path)
        names.append(name)
    atomic_write_text(_listing(root, split), "\n".join(names) + "\n")
    return len(names)


def _listing(root: Path, split: str) -> Path:
    return root / "ImageSets" / "Segmentation" / f"{split}.txt"
