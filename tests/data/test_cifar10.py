"""CIFAR-10 as tensorflow-datasets stores it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from keras_nas.data import cifar10
from keras_nas.errors import KerasNasError


def test_images_and_labels_belong_together(prepared: Path) -> None:
    images, labels = cifar10.load("train", prepared)
    assert (images.shape, images.dtype) == ((200, 32, 32, 3), np.uint8)
    assert (labels.shape, labels.dtype) == ((200,), np.int64)
    np.testing.assert_array_equal(images[:, 0, 0, 1], labels)
    assert sorted(images[:, 0, 0, 0].tolist()) == list(range(200))
    assert cifar10.load("test", prepared)[0].shape == (40, 32, 32, 3)


def test_the_order_is_the_stored_one(prepared: Path) -> None:
    first, second = (cifar10.load("train", prepared)[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_tfds_load_reads_the_same(prepared: Path) -> None:
    import tensorflow_datasets as tfds

    stored = tfds.load("cifar10", split="test", data_dir=prepared, download=False, batch_size=-1)
    images, labels = cifar10.load("test", prepared)
    np.testing.assert_array_equal(stored["image"], images)
    np.testing.assert_array_equal(stored["label"], labels)


def test_the_environment_names_the_folder(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_NAS_DATA", str(prepared))
    assert cifar10.load("test")[1].shape == (40,)


def test_a_missing_folder_is_one_line_with_the_command(tmp_path: Path) -> None:
    folder = tmp_path / "absent"
    with pytest.raises(KerasNasError) as caught:
        cifar10.load("train", folder)
    assert str(caught.value) == (
        f"`cifar10` is not prepared in `{folder}/cifar10/3.0.2`: run `python -m apps.fetch_data "
        f"--task=cifar10 --data_dir={folder}`, or point `data_dir` at the folder that holds "
        "`cifar10/3.0.2`."
    )
    assert not folder.exists()


def test_another_split_is_refused(prepared: Path) -> None:
    with pytest.raises(KerasNasError, match=r"`split` must be one of .* split='validation'"):
        cifar10.load("validation", prepared)
