"""CIFAR-10 and ImageNet on records in tensorflow-datasets' layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from keras_nas.data import cifar10, imagenet
from keras_nas.data.tensorflow_datasets_source import prepared_builder
from keras_nas.errors import KerasNasError

MEAN, STD = imagenet.NORMALIZATION.mean, imagenet.NORMALIZATION.std


@pytest.fixture(scope="module")
def builder(prepared: Path):
    return prepared_builder("imagenet2012", prepared, download=False)


def labels_of(dataset: tf.data.Dataset) -> list[int]:
    return np.concatenate([labels.numpy() for _, labels in dataset]).tolist()


def expected(labels: np.ndarray) -> np.ndarray:
    """The standardised grey of the images of these classes, (batch, 1, 1, 3)."""
    return ((4 * labels[:, np.newaxis] / 255 - MEAN) / STD)[:, np.newaxis, np.newaxis]


def test_training_batches_are_standardised_crops(builder) -> None:
    train = imagenet.training_data(builder, "train[:50]", 8, seed=1, image_size=24)
    assert int(train.cardinality()) == train.steps_per_epoch == 6
    images, labels = next(iter(train.epoch(0)))
    assert images.shape == (8, 24, 24, 3)
    assert images.dtype == tf.float32
    np.testing.assert_allclose(images, expected(labels.numpy()) * np.ones((24, 24, 1)), atol=0.05)


def test_an_epoch_repeats_under_its_seed_and_can_be_entered(builder) -> None:
    def epoch(number: int, seed: int = 1, **start: int) -> list:
        train = imagenet.training_data(builder, "train", 8, seed=seed, image_size=16)
        return [(x.numpy(), y.numpy()) for x, y in train.epoch(number, **start)]

    def equal(first: list, second: list) -> bool:
        return all(
            np.array_equal(a, c) and np.array_equal(b, d)
            for (a, b), (c, d) in zip(first, second, strict=True)
        )

    whole = epoch(2)
    assert len(whole) == 7
    assert len({int(label) for _, labels in whole for label in labels}) == 56
    assert equal(whole, epoch(2))
    assert equal(whole[3:], epoch(2, start=3))
    assert not equal(whole, epoch(3))
    assert not equal(whole, epoch(2, seed=2))


def test_plain_iteration_is_shuffled_anew(builder) -> None:
    train = imagenet.training_data(builder, "train", 20, seed=1, image_size=16)
    first, second = labels_of(train), labels_of(train)
    assert sorted(first) == sorted(second) == list(range(60))
    assert first != second


def test_evaluation_takes_the_centre_of_every_image_in_order(builder) -> None:
    data = imagenet.evaluation_data(builder, "validation", 4, image_size=28)
    assert int(data.cardinality()) == 3
    batches = [(images.numpy(), labels.numpy()) for images, labels in data]
    assert [len(labels) for _, labels in batches] == [4, 4, 2]
    assert labels_of(data) == labels_of(data)
    assert sorted(labels_of(data)) == list(range(10))
    for images, labels in batches:
        np.testing.assert_allclose(images, expected(labels) * np.ones((28, 28, 1)), atol=0.05)


def test_without_augmentation_training_sees_the_centre(builder) -> None:
    train = imagenet.training_data(builder, "train[:8]", 8, seed=1, image_size=16, augment=False)
    (images, labels), (again, other) = (next(iter(train.epoch(e))) for e in range(2))
    order, other_order = np.argsort(labels), np.argsort(other)
    np.testing.assert_array_equal(images.numpy()[order], again.numpy()[other_order])


def test_a_slice_smaller_than_a_batch_is_refused(builder) -> None:
    with pytest.raises(KerasNasError, match=r"training examples, 5. Received: batch_size=8"):
        imagenet.training_data(builder, "train[:5]", 8, seed=0)


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
