"""Small data sets in tensorflow-datasets' own layout, written by its own writer."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Examples = Iterator[tuple[str, dict[str, Any]]]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a CIFAR-10 of 200 + 40 and an ImageNet of 60 + 10 images.

    A CIFAR-10 image's first pixel is (number, class, 7). An ImageNet image of class k is
    uniformly grey, of grey value 4 k, with 40 + k rows and 60 columns.
    """
    folder = tmp_path_factory.mktemp("prepared")
    _prepare("cifar10", folder, {"train": _cifar10(200), "test": _cifar10(40)})
    _prepare("imagenet2012", folder, {"train": _imagenet(60), "validation": _imagenet(10)})
    return folder


def _prepare(name: str, folder: Path, splits: dict[str, Examples]) -> None:
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    builder = tfds.builder(name, data_dir=folder)
    builder._split_generators = lambda manager, *_: splits
    builder.download_and_prepare()


def _cifar10(count: int) -> Examples:
    generator = np.random.default_rng(count)
    for number in range(count):
        image = generator.integers(0, 256, (32, 32, 3)).astype(np.uint8)
        image[0, 0] = number, number % 10, 7
        yield f"{number}", {"id": f"{number}", "image": image, "label": number % 10}


def _imagenet(count: int) -> Examples:
    for number in range(count):
        encoded = io.BytesIO()
        Image.new("RGB", (60, 40 + number), (4 * number,) * 3).save(encoded, "JPEG", quality=95)
        encoded.seek(0)
        name = f"n{number:08}.JPEG"
        yield name, {"image": encoded, "label": number, "file_name": name}
