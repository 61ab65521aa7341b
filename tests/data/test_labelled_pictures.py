"""A few pictures of a data set with their classes; reading the same pictures twice."""

from __future__ import annotations

import os

import numpy as np
import pytest

from keras_nas.data import class_pictures, labelled_pictures, load
from keras_nas.data.class_folders import list_class_folders
from keras_nas.errors import UsageError
from tests.data.pictures import save


@pytest.fixture
def photos(tmp_path):
    save(tmp_path / "a", 30, 0)
    save(tmp_path / "b", 10, 100)
    return tmp_path


@pytest.fixture
def read_paths(monkeypatch):
    """The paths of the pictures that are read from now on."""
    paths = []
    read = class_pictures.read_image

    def noted(path, channels):
        paths.append(path)
        return read(path, channels)

    monkeypatch.setattr(class_pictures, "read_image", noted)
    return paths


def test_no_more_pictures_are_read_than_are_asked_for(photos, read_paths):
    images, labels = labelled_pictures("class_folders", photos, examples=12, seed=1)
    assert len(read_paths) == 12
    assert np.bincount(labels).tolist() == [6, 6]
    np.testing.assert_array_equal(labels, images[:, 0, 0, 0] >= 100)
    assert images.shape == (12, 4, 6, 3)
    again, _ = labelled_pictures("class_folders", photos, examples=12, seed=1)
    np.testing.assert_array_equal(images, again)
    other, _ = labelled_pictures("class_folders", photos, examples=12, seed=2)
    assert not np.array_equal(images, other)


def test_there_may_be_fewer(photos):
    images, labels = labelled_pictures("class_folders", photos, channels=1)
    assert images.shape == (40, 4, 6, 1)
    assert np.bincount(labels).tolist() == [30, 10]


def test_arrays_are_sampled_too(tmp_path):
    images = np.arange(20, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    np.savez(tmp_path / "x.npz", x_train=images, y_train=np.arange(20) % 2)
    chosen, labels = labelled_pictures("npz", tmp_path / "x.npz", examples=8)
    assert np.bincount(labels).tolist() == [4, 4]
    np.testing.assert_array_equal(chosen[:, 0, 0, 0] % 2, labels)


def test_a_published_set_gives_its_pixels():
    images, labels = labelled_pictures("fashion_mnist", examples=50)
    assert images.shape == (50, 28, 28, 1)
    assert (images.dtype, images.min(), images.max()) == (np.uint8, 0, 255)
    assert np.bincount(labels).tolist() == [5] * 10


def test_other_tasks_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"a class for each picture. .* is for segmentation"):
        labelled_pictures("segmentation_folders", tmp_path)


def test_the_stages_of_a_run_read_pictures_once(photos, read_paths):
    first, second = (
        load("class_folders", data_dir=photos, batch_size=size, augment=False) for size in (4, 8)
    )
    assert len(read_paths) == 40
    for one, other in zip(first.test.unbatch(), second.test.unbatch(), strict=True):
        np.testing.assert_array_equal(one[0], other[0])


@pytest.mark.parametrize("change", ["content", "channels", "files"])
def test_what_has_changed_is_read_anew(photos, change):
    listing = list_class_folders(photos)
    before = listing.read().train[0]
    if change == "content":
        save(photos / "a", 1, 77)
        os.utime(photos / "a" / "000.png", ns=(1, 1))
        assert listing.read().train[0][0, 0, 0].tolist() == [77] * 3
    elif change == "channels":
        assert listing.read(channels=1).train[0].shape[-1] == 1
    else:
        (photos / "a" / "000.png").unlink()
        np.testing.assert_array_equal(list_class_folders(photos).read().train[0], before[1:])


def test_many_pictures_are_not_remembered(photos, read_paths, monkeypatch):
    monkeypatch.setattr(class_pictures, "_REMEMBERED_BYTES", 40 * 4 * 6 * 3 - 1)
    for _ in range(2):
        list_class_folders(photos).read()
    assert len(read_paths) == 80
