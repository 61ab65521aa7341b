"""The tf.data pipelines: what is in the batches, and that a seed gives the same ones again."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nas.data import Augmentation, EpochDataset, Normalization, image_classification_data
from keras_nas.errors import KerasNasError

EXAMPLES, BATCH, STEPS = 50, 8, 6
NORMALIZATION = Normalization((0.25, 0.5, 0.75), (0.5, 0.25, 0.125))
Batches = list[tuple[np.ndarray, np.ndarray]]


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (EXAMPLES, 10, 12, 3)).astype(np.uint8)


LABELS = np.arange(EXAMPLES)


def training_set(images: np.ndarray, seed: int = 1, **changes: object) -> EpochDataset:
    arguments = {"augmentation": Augmentation(pad=2, cutout=3), "batch_size": BATCH} | changes
    return image_classification_data(
        images, LABELS, training=True, normalization=NORMALIZATION, seed=seed, **arguments
    )


def batches(dataset: tf.data.Dataset) -> Batches:
    return [(images.numpy(), labels.numpy()) for images, labels in dataset]


def equal(first: Batches, second: Batches) -> bool:
    return len(first) == len(second) and all(
        np.array_equal(a, b) and np.array_equal(c, d)
        for (a, c), (b, d) in zip(first, second, strict=True)
    )


def test_evaluation_gives_every_image_in_order_standardised(images: np.ndarray) -> None:
    dataset = image_classification_data(
        images, LABELS, BATCH, training=False, normalization=NORMALIZATION
    )
    got = batches(dataset)
    assert int(dataset.cardinality()) == len(got) == 7
    assert [len(labels) for _, labels in got] == [8] * 6 + [2]
    pixels = np.concatenate([found for found, _ in got])
    assert pixels.dtype == np.float32
    wanted = (images / 255 - NORMALIZATION.mean) / NORMALIZATION.std
    np.testing.assert_allclose(pixels, wanted, atol=1e-5)
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in got]), LABELS)
    assert got[0][1].dtype == np.int64
    np.testing.assert_array_equal(NORMALIZATION.undo(pixels), images)


def test_an_epoch_holds_complete_batches_of_different_images(images: np.ndarray) -> None:
    train = training_set(images, augmentation=None)
    epoch = train.epoch(0)
    assert train.steps_per_epoch == STEPS == int(train.cardinality()) == int(epoch.cardinality())
    for dataset in (train, epoch):
        got = batches(dataset)
        labels = np.concatenate([labels for _, labels in got])
        assert [found.shape for found, _ in got] == [(BATCH, 10, 12, 3)] * STEPS
        assert len(set(labels.tolist())) == STEPS * BATCH
        pixels = np.concatenate([found for found, _ in got])
        np.testing.assert_array_equal(NORMALIZATION.undo(pixels), images[labels])


def test_every_image_comes_in_some_epoch(images: np.ndarray) -> None:
    train = training_set(images)
    seen = {
        int(label) for e in range(4) for _, labels in batches(train.epoch(e)) for label in labels
    }
    assert seen == set(range(EXAMPLES))


def test_the_same_seed_gives_the_same_epochs_whatever_went_before(images: np.ndarray) -> None:
    first, second = training_set(images), training_set(images)
    tf.random.set_seed(11)
    in_order = [batches(first.epoch(epoch)) for epoch in range(2)]
    tf.random.set_seed(12)
    np.random.seed(12)
    batches(second)
    backwards = [batches(second.epoch(epoch)) for epoch in (1, 0)]
    assert equal(in_order[0], backwards[1])
    assert equal(in_order[1], backwards[0])
    assert not equal(in_order[0], in_order[1])
    assert not equal(in_order[0], batches(training_set(images, seed=2).epoch(0)))


def test_augmentation_differs_between_epochs_too(images: np.ndarray) -> None:
    train = training_set(images, batch_size=EXAMPLES)
    (first, labels), (second, other_labels) = (batches(train.epoch(e))[0] for e in range(2))
    order, other_order = np.argsort(labels), np.argsort(other_labels)
    same = [np.array_equal(a, b) for a, b in zip(first[order], second[other_order], strict=True)]
    assert sum(same) < 10


@pytest.mark.parametrize("start", [0, 1, 4, STEPS])
def test_an_epoch_can_be_entered_at_any_step(images: np.ndarray, start: int) -> None:
    train = training_set(images)
    entered = train.epoch(3, start=start)
    assert int(entered.cardinality()) == STEPS - start
    assert equal(batches(entered), batches(train.epoch(3).skip(start)))


def test_plain_iteration_is_new_every_time_and_repeats_under_the_seeds(images: np.ndarray) -> None:
    passes = []
    for _ in range(2):
        tf.random.set_seed(5)
        train = training_set(images)
        passes.append([batches(train), batches(train)])
    assert equal(passes[0][0], passes[1][0])
    assert equal(passes[0][1], passes[1][1])
    assert not equal(passes[0][0], passes[0][1])


def test_it_is_a_dataset_like_any_other(images: np.ndarray) -> None:
    train = training_set(images)
    assert isinstance(train, tf.data.Dataset)
    assert train.element_spec[0].shape.as_list() == [BATCH, 10, 12, 3]
    joined = train.map(lambda images, labels: labels).unbatch().repeat().batch(40).take(3)
    assert [len(labels) for labels in joined] == [40] * 3


def test_keras_fit_trains_on_it(images: np.ndarray) -> None:
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(EXAMPLES)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss)
    history = model.fit(training_set(images, augmentation=None), epochs=8, shuffle=False, verbose=0)
    assert history.history["loss"][-1] < 0.5 * history.history["loss"][0]


def test_nothing_is_tuned_while_a_network_trains(images: np.ndarray) -> None:
    """Autotuning made the ends of epochs wait on few cores."""
    train = training_set(images)
    evaluated = image_classification_data(
        images, LABELS, BATCH, training=False, normalization=NORMALIZATION
    )
    for dataset in (train, train.epoch(0), evaluated, train.map(lambda x, y: x)):
        assert dataset.options().autotune.enabled is False
        assert dataset.options().deterministic is True


def test_images_are_resized_after_augmentation(images: np.ndarray) -> None:
    train = training_set(images, augmentation=None, image_size=20)
    (resized, labels) = batches(train.epoch(0))[0]
    assert resized.shape == (BATCH, 20, 20, 3)
    wanted = tf.image.resize(NORMALIZATION.apply(images[labels]), [20, 20])
    np.testing.assert_allclose(resized, wanted, atol=1e-4)


DISTRIBUTED = """
import numpy as np, tensorflow as tf
from keras_nas.data import Augmentation, Normalization, image_classification_data
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
images = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 1)).astype(np.uint8)
train = image_classification_data(images, np.arange(50), 8, training=True, seed=1,
    normalization=Normalization((0.5,), (0.5,)), augmentation=Augmentation(pad=1))
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
steps = 0
for element, whole in zip(
    strategy.experimental_distribute_dataset(train.epoch(1)), train.epoch(1), strict=True
):
    for part, batch in zip(element, whole, strict=True):
        parts = [value.numpy() for value in strategy.experimental_local_results(part)]
        assert [len(value) for value in parts] == [4, 4]
        np.testing.assert_array_equal(np.concatenate(parts), batch)
    steps += 1
print("steps", steps)
"""


def test_replicas_share_a_batch_under_tf_distribute() -> None:
    """Two replicas need two logical devices, which a process can only set at its start."""
    run = subprocess.run(
        [sys.executable, "-c", DISTRIBUTED],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.split() == ["steps", "6"]


def test_an_impossible_place_is_refused(images: np.ndarray) -> None:
    train = training_set(images)
    with pytest.raises(KerasNasError, match=r"`epoch` must be 0 or more. Received: epoch=-1"):
        train.epoch(-1)
    with pytest.raises(
        KerasNasError, match=r"from 0 to the 6 steps of an epoch. Received: start=7"
    ):
        train.epoch(0, start=7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be 1 or more"),
        ({"batch_size": 51}, "at most the number of training examples, 50. .*batch_size=51"),
        ({"seed": -1}, "`seed` must be 0 or more"),
    ],
)
def test_an_impossible_training_set_is_refused(
    images: np.ndarray, arguments: dict, message: str
) -> None:
    with pytest.raises(KerasNasError, match=message):
        training_set(images, **arguments)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((0, 4, 4, 3), np.uint8), np.zeros(0, int), "must not be empty"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros(3, int), "one class for each"),
        (np.zeros((2, 4, 4, 1), np.uint8), np.zeros(2, int), r"uint8 \(N, height, width, 3\)"),
        (np.zeros((2, 4, 4, 3), np.float32), np.zeros(2, int), r"Received: float32 \(2, 4, 4, 3"),
    ],
)
def test_images_of_another_kind_are_refused(
    images: np.ndarray, labels: np.ndarray, message: str
) -> None:
    with pytest.raises(KerasNasError, match=message):
        image_classification_data(images, labels, 2, training=False, normalization=NORMALIZATION)


@pytest.mark.parametrize(("mean", "std"), [((), ()), ((0.5,), (0.0,)), ((0.5,), (1.0, 1.0))])
def test_an_impossible_normalization_is_refused(mean: tuple, std: tuple) -> None:
    with pytest.raises(KerasNasError, match="`mean` and `std` must have one value a channel"):
        Normalization(mean, std)


@pytest.mark.slow
def test_two_cores_prepare_over_twenty_thousand_images_a_second() -> None:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (60_000, 28, 28, 1)).astype(np.uint8)
    train = image_classification_data(
        images,
        generator.integers(0, 10, len(images)),
        128,
        training=True,
        normalization=Normalization((0.5,), (0.5,)),
        augmentation=Augmentation(),
    )
    seconds = []
    for epoch in range(3):
        begin = time.perf_counter()
        steps = sum(1 for _ in itertools.islice(train.epoch(epoch), None))
        seconds.append(time.perf_counter() - begin)
    assert steps * 128 / min(seconds) > 20_000
