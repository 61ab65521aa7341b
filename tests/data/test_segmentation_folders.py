"""One's own pictures for segmentation, as folders of pictures and labels."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest

from keras_nas.data import load
from keras_nas.data.segmentation_folders import read_segmentation_folders
from keras_nas.errors import KerasNasError, UsageError


def save(part, count, size=(8, 6), mode="L", highest=3):
    """Writes pictures whose red is 40 times the class of each pixel, in blocks of two by two."""
    random = np.random.default_rng(count)
    for folder in ("images", "labels"):
        (part / folder).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        blocks = random.integers(0, highest, (size[1] // 2, size[0] // 2))
        blocks[0, 0] = highest
        labels = np.kron(blocks, np.ones((2, 2))).astype("uint8")
        image = np.stack([40 * labels] * 3, axis=-1)
        labels[-1, -1] = 255
        PIL.Image.fromarray(image).save(part / "images" / f"{number}.png")
        saved = PIL.Image.fromarray(labels)
        if mode == "P":
            saved.putpalette(list(range(255, -1, -1)) * 3)
        saved.convert(mode).save(part / "labels" / f"{number}.png")


@pytest.fixture
def scenes(tmp_path):
    save(tmp_path / "train", 5, mode="P")
    save(tmp_path / "val", 2)
    save(tmp_path / "test", 3, highest=2)
    return tmp_path


def test_each_part_is_read_from_its_folder(scenes):
    found = read_segmentation_folders(scenes)
    assert found.classes == 4
    for (images, labels), count in ((found.train, 5), (found.validation, 2), (found.test, 3)):
        assert images.shape == (count, 6, 8, 3)
        counts = labels != 255
        assert counts.sum() == count * 47
        np.testing.assert_array_equal(images[..., 0][counts], 40 * labels[counts])


def test_smaller_pictures_keep_their_shape_and_whole_classes(scenes):
    found = read_segmentation_folders(scenes, image_size=4)
    images, labels = found.train
    assert images.shape == (5, 3, 4, 3)
    assert set(np.unique(labels)) <= {0, 1, 2, 3, 255}


def test_a_data_set_takes_the_parts_as_they_are(scenes):
    data = load("segmentation_folders", data_dir=scenes, batch_size=2, seed=1)
    assert (data.train_examples, data.validation_examples, data.test_examples) == (5, 2, 3)
    assert (data.image_shape, data.num_classes) == ((6, 8, 3), 4)
    images, labels = next(iter(data.test))
    pixels = data.normalization.undo(images.numpy())
    counts = labels.numpy() != 255
    np.testing.assert_array_equal(pixels[..., 0][counts], 40 * labels.numpy()[counts])
    (windows, classes), *_ = data.train.epoch(0)
    assert windows.shape == (2, 6, 8, 3)
    assert classes.shape == (2, 6, 8)
    assert scenes.name in data.describe()


def test_without_a_validation_folder_a_share_is_held_back(tmp_path):
    save(tmp_path / "train", 10)
    save(tmp_path / "test", 2)
    data = load("segmentation_folders", data_dir=tmp_path, batch_size=2, validation_share=0.2)
    assert (data.train_examples, data.validation_examples) == (8, 2)


def test_what_does_not_fit_can_be_left_out(scenes, caplog):
    (scenes / "train" / "images" / "1.png").write_bytes(b"\x89PNG")
    (scenes / "train" / "labels" / "3.png").unlink()
    data = load("segmentation_folders", data_dir=scenes, batch_size=2, broken="skip")
    assert (data.train_examples, data.validation_examples, data.test_examples) == (3, 2, 3)
    assert "2 of 5 pictures" in caplog.text
    assert "1.png` cannot be read" in caplog.text


def none(folder):
    return None


def missing(folder):
    return folder / "no"


def no_test(folder):
    save(folder / "train", 1)
    return folder


def no_label(folder):
    save(folder / "train", 1)
    save(folder / "test", 2)
    (folder / "test" / "labels" / "1.png").unlink()
    return folder


def broken_label(folder):
    save(folder / "train", 1)
    save(folder / "test", 2)
    (folder / "test" / "labels" / "1.png").write_bytes(b"\x89PNG")
    return folder


def colored(folder):
    save(folder / "train", 1, mode="RGB")
    save(folder / "test", 1)
    return folder


def other_size(folder):
    save(folder / "train", 1)
    save(folder / "test", 1)
    PIL.Image.new("L", (4, 4)).save(folder / "test" / "labels" / "0.png")
    return folder


def two_sizes(folder):
    save(folder / "train", 1)
    save(folder / "test", 1, size=(6, 8))
    return folder


def one_class(folder):
    for part in ("train", "test"):
        save(folder / part, 1)
        PIL.Image.new("L", (8, 6)).save(folder / part / "labels" / "0.png")
    return folder


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (none, UsageError, "`data_dir` must name the folder"),
        (missing, KerasNasError, "No folder of pictures and labels"),
        (no_test, KerasNasError, "must hold a folder `test`"),
        (no_label, KerasNasError, "labels .*1.png. of a picture are missing"),
        (broken_label, KerasNasError, "1.png. cannot be read"),
        (colored, KerasNasError, "one number a pixel. Received: mode RGB"),
        (other_size, KerasNasError, "size of their picture, 8×6. Received: 4×4"),
        (two_sizes, UsageError, "must have one size.*Received: 8×6 and 6×8"),
        (one_class, KerasNasError, "two or more classes"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, make, kind, message):
    with pytest.raises(kind, match=message):
        read_segmentation_folders(make(tmp_path))
