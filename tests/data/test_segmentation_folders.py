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
    assert found.class_names == ("0", "1", "2", "3")
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


@pytest.mark.parametrize("part", ["train", "."])
def test_without_a_test_folder_a_fifth_is_kept_for_testing(tmp_path, part):
    save(tmp_path / part, 10)
    first, again, other = (
        load("segmentation_folders", data_dir=tmp_path, batch_size=2, validation_share=0.25,
             seed=seed)
        for seed in (1, 1, 2)
    )  # fmt: skip
    assert (first.train_examples, first.validation_examples, first.test_examples) == (6, 2, 2)
    tested = [
        np.concatenate([labels.numpy() for _, labels in data.test])
        for data in (first, again, other)
    ]
    np.testing.assert_array_equal(tested[0], tested[1])
    assert not np.array_equal(tested[0], tested[2])


COLORS = "128 0 0 Road\n0 128 0\tTall tree\n\n0 0 0 void\n"


def colored_labels(folder, colors):
    """One picture of four pixels in these colours, and one of the same turned round."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(2):
        pixels = np.roll(np.array(colors, np.uint8), number, axis=0).reshape(2, 2, 3)
        PIL.Image.new("RGB", (2, 2)).save(folder / "images" / f"{number}.png")
        PIL.Image.fromarray(pixels).save(folder / "labels" / f"{number}.png")


def test_labels_may_have_the_colours_that_a_file_says(tmp_path):
    colored_labels(tmp_path, [(0, 128, 0), (128, 0, 0), (0, 0, 0), (0, 128, 0)])
    (tmp_path / "label_colors.txt").write_text(COLORS)
    found = read_segmentation_folders(tmp_path)
    assert found.class_names == ("Road", "Tall tree")
    assert found.train[1].tolist() == [[[1, 0], [255, 1]], [[1, 1], [0, 255]]]
    path = tmp_path / "labels" / "0.png"
    indexed = PIL.Image.fromarray(np.array([[7, 5], [6, 7]], np.uint8))
    indexed.putpalette([9] * 15 + [128, 0, 0] + [0, 0, 0] + [0, 128, 0])
    indexed.save(path)
    assert read_segmentation_folders(tmp_path).train[1][0].tolist() == [[1, 0], [255, 1]]
    PIL.Image.fromarray(np.array([[0, 1], [255, 0]], np.uint8)).save(path)
    assert read_segmentation_folders(tmp_path).train[1][0].tolist() == [[0, 1], [255, 0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("128 0 0 Road\n0 0 0 void", "must have from 2 to 255 classes. Received: 1"),
        ("128 0 0 Road\n0 300 0 Tree", "Line 2 .* red, green, blue .* Received: 0 300 0 Tree"),
        ("128 0 0 Road\n0 128 0", "Line 2 .* and a name"),
        ("1 2 3 Road\n0 128 0 Tree\n1 2 3 Sky", "Line 3 .* a colour of its own. .* 1 2 3 Sky"),
        ("128 0 0 Road\n0 0 0 Tree", "0.png. must have the colours .* alone. Received: 0 128 0"),
    ],
)
def test_a_file_of_colours_that_does_not_fit_is_refused(tmp_path, text, message):
    colored_labels(tmp_path, [(0, 128, 0), (128, 0, 0), (0, 0, 0), (0, 128, 0)])
    (tmp_path / "label_colors.txt").write_text(text)
    with pytest.raises(KerasNasError, match=message):
        read_segmentation_folders(tmp_path)


def test_grey_labels_beyond_the_file_of_colours_are_refused(tmp_path):
    save(tmp_path, 2)
    (tmp_path / "label_colors.txt").write_text(COLORS)
    with pytest.raises(KerasNasError, match=r"must have 2 classes at most. Received: 4"):
        read_segmentation_folders(tmp_path)


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


def no_images(folder):
    (folder / "labels").mkdir()
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
        (no_images, KerasNasError, "must hold a folder `train`"),
        (no_label, KerasNasError, "labels .*1.png. of a picture are missing"),
        (broken_label, KerasNasError, "1.png. cannot be read"),
        (
            colored,
            KerasNasError,
            "one number a pixel, or .* label_colors.txt .* Received: mode RGB",
        ),
        (other_size, KerasNasError, "size of their picture, 8×6. Received: 4×4"),
        (two_sizes, UsageError, "must have one size.*Received: 8×6 and 6×8"),
        (one_class, KerasNasError, "two or more classes"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, make, kind, message):
    with pytest.raises(kind, match=message):
        read_segmentation_folders(make(tmp_path))
