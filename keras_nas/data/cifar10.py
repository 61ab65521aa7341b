"""CIFAR-10: 50,000 + 10,000 colour 32×32 images in ten classes, through tensorflow-datasets.

Reference: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
"""

from __future__ import annotations

import os

import numpy as np

from keras_nas.data.normalization import Normalization
from keras_nas.data.tensorflow_datasets_source import prepared_builder
from keras_nas.errors import UsageError

CLASS_NAMES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)

# Over the 50,000 training images; github.com/facebookarchive/fb.resnet.torch,
# datasets/cifar10.lua: means 125.3, 123.0, 113.9 and deviations 63.0, 62.1, 66.7 of 255.
NORMALIZATION = Normalization(
    mean=(125.3 / 255, 123.0 / 255, 113.9 / 255), std=(63.0 / 255, 62.1 / 255, 66.7 / 255)
)


def load(
    split: str, data_dir: str | os.PathLike[str] | None = None, download: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Reads CIFAR-10 as tensorflow-datasets prepared it.

    Args:
        split: "train" or "test".
        data_dir: The folder that holds cifar10/, see `prepared_builder`.
        download: Whether to download it where it is missing.

    Returns:
        The images, uint8 (N, 32, 32, 3) of 0 … 255, and the labels, int64 (N,) of 0 … 9, in the
        order that tensorflow-datasets stores.

    Raises:
        KerasNasError: Another split, or the data is missing.
    """
    if split not in ("train", "test"):
        raise UsageError(f"`split` must be one of ['train', 'test']. Received: split={split!r}")
    builder = prepared_builder("cifar10", data_dir, download)
    examples = builder.as_dataset(split=split, batch_size=-1)
    return examples["image"].numpy(), examples["label"].numpy().astype(np.int64)
