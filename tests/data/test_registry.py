"""`kn.data.load`: the parts of a data set, their sizes and classes, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from keras_nas.data import TaskData, cifar10, load, names, registry
from keras_nas.errors import KerasNasError
from keras_nas.runs.config import RunConfig


def numbers(dataset: tf.data.Dataset) -> list[int]:
    """The numbers that CIFAR-10's images here carry in their first pixel."""
    pixels = [cifar10.NORMALIZATION.undo(images.numpy())[:, 0, 0, 0] for images, _ in dataset]
    return np.concatenate(pixels).tolist()


def cifar(prepared: Path, **changes: object) -> TaskData:
    arguments = {"batch_size": 10, "seed": 3, "augment": False, "download": False} | changes
    return load("cifar10", data_dir=prepared, **arguments)


def test_the_parts_are_disjoint_and_balanced(prepared: Path) -> None:
    data = cifar(prepared, validation_share=0.2, train_examples=100, split_ratio="4:1")
    train, structure = numbers(data.train.epoch(0)), numbers(data.structure.epoch(0))
    validation = numbers(data.validation)
    assert (len(train), len(structure), len(validation)) == (80, 20, 40)
    assert len({*train, *structure, *validation}) == 140
    for part in (train, structure, validation):
        assert len(set(np.bincount(np.array(part) % 10).tolist())) == 1
    assert (data.train_examples, data.structure_examples, data.validation_examples) == (80, 20, 40)
    assert (data.test_examples, data.available_examples) == (40, 200)
    assert data.describe() == (
        "cifar10: 80 of 200 training images (class-balanced, seed 3), 20 for structure, "
        "40 for validation, 40 for testing"
    )


def test_weights_and_structure_join_to_the_training_set_of_the_same_seed(prepared: Path) -> None:
    parted = cifar(prepared, train_examples=100, split_ratio=(1, 1))
    whole = cifar(prepared, train_examples=100)
    joined = numbers(parted.train.epoch(0)) + numbers(parted.structure.epoch(0))
    assert sorted(joined) == sorted(numbers(whole.train.epoch(0)))
    assert sorted(numbers(parted.validation)) == sorted(numbers(whole.validation))
    assert whole.structure is None
    other = cifar(prepared, train_examples=100, seed=4)
    assert sorted(numbers(other.train.epoch(0))) != sorted(numbers(whole.train.epoch(0)))


def test_without_a_share_there_is_no_validation(prepared: Path) -> None:
    data = cifar(prepared, validation_share=0.0)
    assert data.validation is None
    assert data.train_examples == 200
    assert sorted(numbers(data.train.epoch(0))) == list(range(200))
    assert sorted(numbers(data.test)) == list(range(40))


def test_it_says_what_a_model_must_know(prepared: Path) -> None:
    data = cifar(prepared, image_size=40)
    assert data.image_shape == (40, 40, 3)
    assert data.train.element_spec[0].shape.as_list() == [10, 40, 40, 3]
    assert data.test.element_spec[0].shape.as_list() == [None, 40, 40, 3]
    assert data.num_classes == len(data.class_names) == 10
    assert data.normalization == cifar10.NORMALIZATION


def test_augmentation_pads_with_the_mean_and_cuts_out(prepared: Path) -> None:
    plain, augmented, cut = (
        next(iter(cifar(prepared, **changes).train.epoch(0)))[0].numpy()
        for changes in ({}, {"augment": True}, {"augment": True, "cutout": 16})
    )
    zeros = [np.mean(np.all(images == 0.0, axis=-1)) for images in (plain, augmented, cut)]
    assert zeros[0] == 0.0
    assert 0.02 < zeros[1] < 0.25
    assert zeros[2] > zeros[1] + 0.1


def test_fashion_mnist_is_the_real_one() -> None:
    data = load("fashion_mnist", batch_size=100, train_examples=1_000, seed=1, download=False)
    assert (data.train_examples, data.validation_examples) == (1_000, 6_000)
    assert (data.available_examples, data.test_examples) == (60_000, 10_000)
    assert data.image_shape == (28, 28, 1)
    labels = np.concatenate([labels.numpy() for _, labels in data.train.epoch(0)])
    assert np.bincount(labels).tolist() == [100] * 10
    images, _ = next(iter(data.test))
    assert abs(float(tf.reduce_mean(images))) < 0.1
    assert abs(float(tf.math.reduce_std(images)) - 1.0) < 0.1


def test_imagenet_is_parted_in_slices(prepared: Path) -> None:
    data = load(
        "imagenet2012",
        data_dir=prepared,
        batch_size=4,
        image_size=16,
        validation_share=0.2,
        train_examples=40,
        split_ratio="4:1",
        download=False,
    )
    parts = [data.train.epoch(0), data.structure.epoch(0), data.validation]
    labels = [{int(label) for _, batch in part for label in batch} for part in parts]
    assert [len(part) for part in labels] == [32, 8, 12]
    assert len(set.union(*labels)) == 52
    assert (data.train_examples, data.structure_examples, data.validation_examples) == (32, 8, 12)
    assert (data.test_examples, data.available_examples) == (10, 60)
    assert data.image_shape == (16, 16, 3)
    assert data.num_classes == 1000
    assert data.class_names[0] == "n01440764"


def test_imagenet_is_224_pixels_wide_where_nothing_is_said(prepared: Path) -> None:
    data = load(
        "imagenet2012", data_dir=prepared, batch_size=2, validation_share=0.0, download=False
    )
    assert data.image_shape == (224, 224, 3)
    assert next(iter(data.train.epoch(0)))[0].shape == (2, 224, 224, 3)
    assert next(iter(data.test))[0].shape == (2, 224, 224, 3)
    assert data.validation is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_examples": 181}, "from 1 to the 180 that there are. .* train_examples=181"),
        ({"train_examples": 0}, "from 1 to the 180"),
        ({"validation_share": 1.0}, "`validation_share` must be at least 0 and less than 1"),
        ({"validation_share": -0.1}, "`validation_share` must be"),
        ({"validation_share": 0.001}, "leave no part empty. Received: share=0.001 of 200"),
        ({"split_ratio": "1"}, "`split_ratio` must be two positive numbers"),
        ({"split_ratio": "999:1"}, "leave no part empty"),
        ({"image_size": 0}, "`image_size` must be 1 or more"),
        ({"seed": -1}, "`seed` must be 0 or more"),
        ({"batch_size": 0}, "`batch_size` must be 1 or more"),
        ({"batch_size": 200}, "at most the number of training examples, 180"),
        ({"cutout": 4}, "`cutout` must be 0 without `augment`"),
    ],
)
def test_impossible_arguments_are_refused(prepared: Path, changes: dict, message: str) -> None:
    with pytest.raises(KerasNasError, match=message):
        cifar(prepared, **changes)


def test_imagenet_refuses_likewise(prepared: Path) -> None:
    for changes, message in (
        ({"train_examples": 61, "validation_share": 0.0}, "from 1 to the 60 that there are"),
        ({"cutout": 16}, r"options of imagenet2012 must be of \['augment', .* Received: cutout=16"),
    ):
        with pytest.raises(KerasNasError, match=message):
            load("imagenet2012", data_dir=prepared, download=False, **changes)


def test_an_unknown_name_lists_the_known() -> None:
    assert names("classification") == (
        "fashion_mnist", "cifar10", "imagenet2012", "class_folders", "csv", "npz", "tfds:NAME",
    )  # fmt: skip
    with pytest.raises(KerasNasError, match=r"one of \['fashion_mnist', 'cifar10', 'imagenet2012'"):
        load("mnist")


def test_missing_data_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keras_nas.data.fashion_mnist.SYSTEM_DIRECTORY", tmp_path / "no")
    for name in ("fashion_mnist", "cifar10", "imagenet2012"):
        with pytest.raises(KerasNasError, match=f"fetch_data --task={name}"):
            load(name, data_dir=tmp_path, download=False)


def test_a_data_set_is_added_in_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_DATA_SETS", dict(registry._DATA_SETS))
    registry.register("dots", "classification", lambda *, batch_size=4: f"dots by {batch_size}")
    assert load("dots", batch_size=8) == "dots by 8"
    assert names()[-1] == "dots"
    assert registry.task_of("dots") == "classification"
    assert RunConfig(data="dots").data == "dots"
    with pytest.raises(ValueError, match="'dots', taken already"):
        registry.register("dots", "classification", load)
