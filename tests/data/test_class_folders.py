"""One's own pictures, as folders of classes."""

from __future__ import annotations

import numpy as np
import pytest

from keras_nas.data import load
from keras_nas.data.class_folders import list_class_folders
from keras_nas.data.normalization import normalization_of
from keras_nas.errors import KerasNasError, UsageError
from tests.data.pictures import save


@pytest.fixture
def parts(tmp_path):
    for part, count in (("train", 6), ("test", 3), ("val", 2)):
        save(tmp_path / part / "cat", count, 10)
        save(tmp_path / part / "dog", count, 200, mode="L")
    save(tmp_path / "train" / ".hidden", 1)
    return tmp_path


def test_each_part_is_read_from_its_folder(parts):
    found = list_class_folders(parts).read()
    assert found.class_names == ("cat", "dog")
    images, labels = found.train
    assert images.shape == (12, 4, 6, 3)
    assert labels.tolist() == [0] * 6 + [1] * 6
    assert images[:, 0, 0, 0].tolist() == [*range(10, 16), *range(200, 206)]
    assert found.test[1].tolist() == [0, 0, 0, 1, 1, 1]
    assert found.validation[0][:, 0, 0].tolist() == [[v] * 3 for v in (10, 11, 200, 201)]


def test_a_data_set_takes_the_parts_as_they_are(parts):
    data = load("class_folders", data_dir=parts, batch_size=4, augment=False)
    assert (data.train_examples, data.validation_examples, data.test_examples) == (12, 4, 6)
    assert (data.image_shape, data.num_classes) == ((4, 6, 3), 2)
    images, labels = next(iter(data.test.unbatch().batch(6)))
    pixels = data.normalization.undo(images.numpy())[:, 0, 0, 0]
    classes = dict(zip(pixels.tolist(), labels.numpy().tolist(), strict=True))
    assert classes == {10: 0, 11: 0, 12: 0, 200: 1, 201: 1, 202: 1}
    assert parts.name in data.describe()


def test_the_first_pictures_of_a_part_are_of_all_classes(tmp_path):
    for part in ("train", "val", "test"):
        save(tmp_path / part / "a", 40, 0)
        save(tmp_path / part / "b", 40, 100)
    data = load("class_folders", data_dir=tmp_path, batch_size=20, augment=False)
    for batches in (data.test, data.validation):
        _, labels = next(iter(batches))
        assert 5 <= labels.numpy().sum() <= 15
    again = load("class_folders", data_dir=tmp_path, batch_size=20, augment=False)
    np.testing.assert_array_equal(next(iter(again.test))[1], next(iter(data.test))[1])


def test_without_a_test_folder_a_fifth_of_each_class_is_kept_for_testing(tmp_path):
    save(tmp_path / "a", 10, 0)
    save(tmp_path / "b", 20, 100)
    data = load("class_folders", data_dir=tmp_path, batch_size=2, validation_share=0.25, seed=3)
    assert (data.train_examples, data.validation_examples, data.test_examples) == (18, 6, 6)
    seen = np.concatenate([labels.numpy() for _, labels in data.test])
    assert np.bincount(seen).tolist() == [2, 4]


def test_pictures_of_several_sizes_are_brought_to_squares(tmp_path):
    save(tmp_path / "a", 5, 40, size=(9, 7))
    save(tmp_path / "b", 5, 40, size=(20, 30), suffix="bmp")
    with pytest.raises(UsageError, match=r"`image_size` must be given.*9×7 to 20×30"):
        load("class_folders", data_dir=tmp_path, batch_size=2)
    data = load("class_folders", data_dir=tmp_path, batch_size=2, image_size=8)
    assert data.image_shape == (8, 8, 3)
    assert next(iter(data.train))[0].shape == (2, 8, 8, 3)


def test_pixels_are_standardised_by_the_training_pictures():
    images = np.zeros((2, 1, 2, 3), np.uint8)
    images[0, ..., 0] = 255
    images[:, :, 0, 1] = 51
    found = normalization_of(images)
    assert found.mean == (0.5, 0.1, 0.0)
    assert found.std == (0.5, 0.1, round(1 / 255, 4))


def test_a_broken_picture_can_be_left_out_with_its_class_and_part(parts, caplog):
    for part, name, number in (("train", "cat", 2), ("test", "dog", 0)):
        (parts / part / name / f"{number:03}.png").write_bytes(b"\x89PNG")
    data = load("class_folders", data_dir=parts, batch_size=4, broken="skip", pixels="0..255")
    assert (data.train_examples, data.validation_examples, data.test_examples) == (11, 4, 5)
    images, labels = (np.concatenate(each) for each in zip(*data.test, strict=True))
    classes = dict(zip(images[:, 0, 0, 0].tolist(), labels.tolist(), strict=True))
    assert classes == {10: 0, 11: 0, 12: 0, 201: 1, 202: 1}
    assert "2 of 22 pictures" in caplog.text
    assert "002.png" in caplog.text


def test_pictures_may_be_read_as_grey(tmp_path):
    save(tmp_path / "a", 3, 40, mode="L")
    save(tmp_path / "b", 3, 40)
    images, _ = list_class_folders(tmp_path).read(channels=1).train
    assert images.shape == (6, 4, 6, 1)
    assert images[:, 0, 0, 0].tolist() == [40, 41, 42] * 2


def none(folder):
    return None


def missing(folder):
    return folder / "no"


def one_class(folder):
    save(folder / "train" / "a", 1)
    return folder


def empty_class(folder):
    save(folder / "a", 1)
    (folder / "b").mkdir()
    return folder


def other_class(folder):
    save(folder / "train" / "a", 2)
    save(folder / "train" / "b", 2)
    save(folder / "test" / "c", 1)
    return folder


def broken(folder):
    save(folder / "a", 2)
    save(folder / "b", 2)
    (folder / "b" / "001.png").write_bytes(b"\x89PNG")
    return folder


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (none, UsageError, "`data_dir` must name the folder"),
        (missing, KerasNasError, "No folder of classes"),
        (one_class, KerasNasError, "two or more classes. Received: \\['a'\\]"),
        (empty_class, KerasNasError, "No image in .*b"),
        (other_class, KerasNasError, "must be of those to train on.*Received: 'c'"),
        (broken, KerasNasError, "001.png. cannot be read"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, make, kind, message):
    with pytest.raises(kind, match=message):
        list_class_folders(make(tmp_path)).read()
