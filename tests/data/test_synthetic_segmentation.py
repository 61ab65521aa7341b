"""Composites of items and photographs: labels that match, and the same images for a seed."""

from __future__ import annotations

import numpy as np
import pytest

from keras_nas.data import fashion_mnist, synthetic_segmentation
from keras_nas.errors import KerasNasError

BLUE = np.array([0, 0, 200], np.uint8)


@pytest.fixture(autouse=True)
def blue_photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pure blue scenes instead of photographs, so that what an item covers can be seen."""
    scenes = {"train": {"a": (150, 200)}, "held_out": {"b": (90, 100)}}

    def load(split: str, data_dir: object = None) -> dict[str, np.ndarray]:
        del data_dir
        return {name: np.full((*shape, 3), BLUE) for name, shape in scenes[split].items()}

    monkeypatch.setattr(synthetic_segmentation.photographs, "load", load)


def test_pixels_are_labelled_where_an_item_covers_the_photograph() -> None:
    images, labels = synthetic_segmentation.load("train", 60, size=64)
    assert (images.shape, images.dtype) == ((60, 64, 64, 3), np.uint8)
    assert (labels.shape, labels.dtype) == ((60, 64, 64), np.uint8)
    assert np.all(images[labels == 0] == BLUE)
    # A tint has at least half the red of the blue, so what an item covers is no longer pure blue;
    # black parts of items are.
    assert np.mean(np.any(images[labels > 0] != BLUE, axis=-1)) > 0.99
    covered = np.mean(labels > 0, axis=(1, 2))
    assert covered.min() > 0.005
    assert covered.max() < 0.9
    assert set(np.unique(labels)) == set(range(11))
    assert len(synthetic_segmentation.CLASS_NAMES) == 11


def test_an_image_holds_one_to_three_items() -> None:
    labels = synthetic_segmentation.load("test", 80, size=48)[1]
    counts = {len(np.unique(image)) - 1 for image in labels}
    assert counts == {1, 2, 3}


def test_an_item_keeps_its_class_and_shape() -> None:
    """A lone trouser is a trouser's silhouette: taller than wide, filled."""
    labels = synthetic_segmentation.load("train", 200, size=96, seed=5)[1]
    trouser = 1 + fashion_mnist.CLASS_NAMES.index("Trouser")
    alone = [p for p in labels if set(np.unique(p)) == {0, trouser}]
    assert len(alone) >= 3
    for image in alone:
        rows, columns = (np.flatnonzero(image.any(axis)) for axis in (1, 0))
        assert np.ptp(rows) > np.ptp(columns)


def test_an_image_depends_on_its_number_and_the_seed_alone() -> None:
    few, many = (synthetic_segmentation.load("train", count, size=32) for count in (3, 8))
    np.testing.assert_array_equal(few[0], many[0][:3])
    np.testing.assert_array_equal(few[1], many[1][:3])
    for changes in ({"seed": 1}, {"split": "test"}):
        arguments = {"split": "train", "count": 3, "size": 32} | changes
        assert not np.array_equal(synthetic_segmentation.load(**arguments)[1], few[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "validation", "count": 1}, "`split` must be one of"),
        ({"split": "train", "count": 0}, "`count` must be 1 or more"),
        ({"split": "train", "count": 1, "size": 8}, "`size` from 16 to 256. .* size=8"),
    ],
)
def test_impossible_arguments_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(KerasNasError, match=message):
        synthetic_segmentation.load(**arguments)
