"""ImageNet's pipelines, on records in tensorflow-datasets' layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from keras_nas.data import imagenet
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
