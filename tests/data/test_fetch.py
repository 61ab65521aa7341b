"""Fetching by task; the real thing, over the network, is slow and runs by `make slow`."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from keras_nas.data import (
    TASKS,
    fashion_mnist,
    fetch,
    mni152,
    photographs,
    synthetic_segmentation,
    voc_image,
)
from keras_nas.errors import KerasNasError


def test_an_unknown_task_lists_the_known() -> None:
    assert {"fashion_mnist", "super_resolution", "segmentation"} <= set(TASKS)
    with pytest.raises(KerasNasError, match=r"`task` must be one of \['fashion_mnist'.*'mnist'"):
        list(fetch("mnist"))


def test_prepared_data_of_tensorflow_datasets_is_counted(prepared: Path) -> None:
    (fetched,) = fetch("cifar10", prepared)
    assert fetched.content == "200 train + 40 test images"
    assert fetched.path == prepared / "cifar10" / "3.0.2"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("apt-get") is None, reason="needs apt")
def test_everything_for_segmentation_comes_over_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fashion_mnist, "find", lambda data_dir: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    fetched = list(fetch("segmentation", tmp_path))
    assert [part.name for part in fetched] == [
        "MNI152 T1, grey and white matter",
        "Pascal VOC image",
        "Fashion-MNIST",
        "Photographs",
    ]
    assert all(part.path.is_dir() and "this machine" not in part.source for part in fetched)
    monkeypatch.undo()
    assert len(photographs.load("train", tmp_path)) == 29
    held_out = photographs.load("held_out", tmp_path)
    assert len(held_out) == 7
    assert all(min(image.shape[:2]) >= 480 for image in held_out.values())
    assert mni152.load("test", tmp_path)[0].shape == (14, 192, 160, 1)
    assert voc_image.load(tmp_path)[0].shape == (375, 500, 3)
    images, labels = synthetic_segmentation.load("test", 20, data_dir=tmp_path)
    assert images.std() > 30
    assert np.mean(labels > 0) > 0.05
