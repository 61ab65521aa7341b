"""One's own pictures, as the arrays of an .npz file."""

from __future__ import annotations

import numpy as np
import pytest

from keras_nas.data import load
from keras_nas.data.picture_npz import load_picture_npz
from keras_nas.errors import KerasNasError, UsageError

IMAGES = np.arange(20, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 5, 3), np.uint8)
LABELS = np.arange(20) % 2


def saved(folder, **arrays):
    path = folder / "pictures.npz"
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    "labels",
    [LABELS, LABELS[:, None], np.eye(2)[LABELS], LABELS.astype("uint8"), LABELS.astype("float32")],
)
def test_labels_may_be_classes_or_one_hot(tmp_path, labels):
    found = load_picture_npz(saved(tmp_path, x_train=IMAGES, y_train=labels)).read()
    np.testing.assert_array_equal(found.train[0], IMAGES)
    np.testing.assert_array_equal(found.train[1], LABELS)
    assert found.train[1].dtype == np.int64
    assert found.class_names == ("0", "1")
    assert found.validation is found.test is None


@pytest.mark.parametrize("name", ["val", "validation"])
def test_there_may_be_parts_and_names_and_other_arrays(tmp_path, name):
    path = saved(
        tmp_path, x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:4], y_test=LABELS[:4],
        **{f"x_{name}": IMAGES[:6], f"y_{name}": LABELS[:6]},
        class_names=np.array(["cat", "dog"]), notes=np.array(["x"], object),
    )  # fmt: skip
    data = load("npz", data_dir=path, batch_size=4, pixels="0..255")
    assert (data.train_examples, data.validation_examples, data.test_examples) == (20, 6, 4)
    assert data.class_names == ("cat", "dog")
    images, labels = next(iter(data.test))
    for image, label in zip(IMAGES[:4], LABELS[:4], strict=True):
        (place,) = np.flatnonzero((images.numpy() == image).all(axis=(1, 2, 3)))
        assert labels[place] == label
    assert load("npz", data_dir=tmp_path, batch_size=4).name == tmp_path.name


def test_grey_images_have_one_channel(tmp_path):
    path = saved(tmp_path, x_train=IMAGES[..., 0], y_train=LABELS)
    data = load("npz", data_dir=path, batch_size=4, image_size=8)
    assert data.image_shape == (8, 8, 1)
    assert (data.train_examples, data.validation_examples, data.test_examples) == (14, 2, 4)
    assert load("npz", data_dir=path, batch_size=4, channels=1).image_shape == (4, 5, 1)
    with pytest.raises(UsageError, match=r"`channels` must be 0 or those of .*, 1. Received: .*=3"):
        load("npz", data_dir=path, channels=3)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": IMAGES}, r"must hold the array `x_train`. Received: \['x'\]"),
        ({"x_train": IMAGES}, r"must hold the array `y_train`. Received: \['x_train'\]"),
        (
            {"x_train": IMAGES / 255, "y_train": LABELS},
            r"`x_train` .* must be uint8 .*; multiply by 255 first. Received: float64 \(20, 4, 5",
        ),
        ({"x_train": IMAGES[0, 0], "y_train": LABELS}, r"must be uint8 .* Received: uint8 \(5, 3"),
        ({"x_train": IMAGES, "y_train": LABELS[:3]}, "Received: 20 and 3"),
        ({"x_train": IMAGES, "y_train": LABELS - 1}, "`y_train` .* must be classes from 0"),
        ({"x_train": IMAGES, "y_train": LABELS + 0.5}, "`y_train` .* must be classes from 0"),
        ({"x_train": IMAGES, "y_train": IMAGES}, "must be classes from 0.* Received: uint8"),
        ({"x_train": IMAGES, "y_train": 0 * LABELS}, "two or more classes"),
        (
            {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES, "y_test": LABELS * 3},
            "labels of test .* 0 to 1. Received: 3",
        ),
        (
            {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES[:, 1:], "y_test": LABELS},
            "must have one shape",
        ),
        (
            {"x_train": IMAGES, "y_train": LABELS, "class_names": np.array(["a"])},
            "must name each of the 2 classes. Received: 1",
        ),
        (
            {"x_train": IMAGES, "y_train": LABELS.astype(object)},
            "cannot be read as an .npz file",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path, arrays, message):
    with pytest.raises(KerasNasError, match=message) as caught:
        load_picture_npz(saved(tmp_path, **arrays)).read()
    assert "\n" not in str(caught.value)


def test_a_file_that_is_none_is_refused(tmp_path):
    path = saved(tmp_path, x_train=IMAGES, y_train=LABELS)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(KerasNasError, match=r"cannot be read as an .npz file"):
        load("npz", data_dir=path)
    path.write_bytes(b"no archive")
    with pytest.raises(KerasNasError, match=r"cannot be read as an .npz file"):
        load("npz", data_dir=path)
