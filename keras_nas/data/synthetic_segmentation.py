"""Synthetic images for segmentation: Fashion-MNIST items pasted on photographs.

The items and the photographs are real, their combination is not: name results on this data
"synthetic". Training images combine training items with training photographs, test images test
items with held-out photographs. Class 0 is the photograph, class 1 + k an item of Fashion-MNIST's
class k.
"""

from __future__ import annotations

import os

import numpy as np
from PIL import Image
from scipy import ndimage

from keras_nas.data import fashion_mnist, photographs
from keras_nas.errors import UsageError

CLASS_NAMES = ("background", *fashion_mnist.CLASS_NAMES)

_PHOTOGRAPHS = {"train": "train", "test": "held_out"}
_MOST_ITEMS = 3
_ITEM_SHARE = (0.35, 0.7)
_ITEM_THRESHOLD = 16


def load(
    split: str,
    count: int,
    *,
    size: int = 96,
    seed: int = 0,
    data_dir: str | os.PathLike[str] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Makes `count` images; image i depends on (split, seed, size, i) alone.

    Each has one to three items, 0.35 to 0.7 of the image wide, tinted in a random colour, later
    ones over earlier ones.

    Args:
        split: "train" or "test".
        count: How many.
        size: The images' side in pixels, 16 … 256.
        seed: Of all that is random.
        data_dir: Where Fashion-MNIST and the photographs stand, see `data_directory`.

    Returns:
        The images, uint8 (count, size, size, 3), and the classes of their pixels, uint8
        (count, size, size) of 0 … 10.

    Raises:
        KerasNasError: Another split, a bad `count` or `size`, or data that is missing.
    """
    if split not in _PHOTOGRAPHS:
        raise UsageError(f"`split` must be one of {list(_PHOTOGRAPHS)}. Received: split={split!r}")
    if count < 1 or not 16 <= size <= 256:
        raise UsageError(
            "`count` must be 1 or more and `size` from 16 to 256. "
            f"Received: count={count}, size={size}"
        )
    items, classes = fashion_mnist.load(split, data_dir)
    scenes = list(photographs.load(_PHOTOGRAPHS[split], data_dir).values())
    images = np.empty((count, size, size, 3), np.uint8)
    labels = np.zeros((count, size, size), np.uint8)
    for index in range(count):
        generator = np.random.default_rng([seed, list(_PHOTOGRAPHS).index(split), size, index])
        images[index] = _background(scenes, size, generator)
        for chosen in generator.integers(len(items), size=generator.integers(1, _MOST_ITEMS + 1)):
            _paste(images[index], labels[index], items[chosen, ..., 0], classes[chosen], generator)
    return images, labels


def _background(scenes: list[np.ndarray], size: int, generator: np.random.Generator) -> np.ndarray:
    scene = scenes[generator.integers(len(scenes))]
    side = int(size * generator.uniform(1.0, min(4.0, min(scene.shape[:2]) / size)))
    top, left = (generator.integers(length - side + 1) for length in scene.shape[:2])
    crop = Image.fromarray(scene[top : top + side, left : left + side])
    return np.asarray(crop.resize((size, size), Image.Resampling.BOX))


def _paste(
    image: np.ndarray,
    labels: np.ndarray,
    item: np.ndarray,
    item_class: int,
    generator: np.random.Generator,
) -> None:
    size = len(labels)
    side = int(size * generator.uniform(*_ITEM_SHARE))
    top, left = generator.integers(size - side + 1, size=2)
    tint = generator.uniform(0.5, 1.0, 3)
    shape = ndimage.binary_fill_holes(item >= _ITEM_THRESHOLD)
    pixels, mask = (_scaled(plane, side) for plane in (item, shape.astype(np.uint8) * 255))
    inside = mask >= 128
    window = (slice(top, top + side), slice(left, left + side))
    image[window][inside] = (pixels[..., np.newaxis] * tint)[inside]
    labels[window][inside] = item_class + 1


def _scaled(plane: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(plane).resize((side, side), Image.Resampling.BILINEAR))
