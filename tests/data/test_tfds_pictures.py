"""Sets of tensorflow-datasets by name, as classification data."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import tensorflow_datasets as tfds

from keras_nas.data import labelled_pictures, load, names, registry
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.runs.config import RunConfig
from tests.data.tfds_sets import write

CLASSES = ("cat", "dog", "owl")


def pictures(count, first=0, label=None, size=(6, 8, 3), keys=("image", "label")):
    """Pictures of one colour, of the values `first`, `first` + 1, …, the classes in turn."""
    return [
        {
            keys[0]: np.full(size, first + number, np.uint8),
            keys[1]: number % 3 if label is None else label,
        }
        for number in range(count)
    ]


def features(shape=(6, 8, 3), keys=("image", "label")):
    image, label = keys
    return tfds.features.FeaturesDict(
        {
            image: tfds.features.Image(shape=shape, encoding_format="png"),
            label: tfds.features.ClassLabel(names=CLASSES),
        }
    )


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    splits = {"train": pictures(30), "val": pictures(6, 100), "test": pictures(9, 200)}
    return write(tmp_path_factory.mktemp("toys"), splits, features())


def test_the_parts_of_a_set_are_read(toys):
    data = load("tfds:toys", data_dir=toys, batch_size=5, augment=False)
    assert (data.train_examples, data.validation_examples, data.test_examples) == (30, 6, 9)
    assert (data.name, data.class_names, data.image_shape) == ("toys", CLASSES, (6, 8, 3))
    images, labels = next(iter(data.test.unbatch().batch(9)))
    pixels = data.normalization.undo(images.numpy())[:, 0, 0]
    assert (pixels == pixels[:, :1]).all()
    classes = dict(zip(pixels[:, 0].tolist(), labels.numpy().tolist(), strict=True))
    assert classes == {200 + number: number % 3 for number in range(9)}
    seen = np.concatenate([y.numpy() for _, y in data.train.epoch(0)])
    assert np.bincount(seen).tolist() == [10, 10, 10]


def test_a_version_may_be_named(toys):
    assert load("tfds:toys:1.0.0", data_dir=toys, batch_size=5).test_examples == 9
    with pytest.raises(UsageError, match=r"knows no `toys:2.0.0`, nor is it prepared in"):
        load("tfds:toys:2.0.0", data_dir=toys, batch_size=5)


def test_it_is_data_by_name_wherever_names_are(toys):
    assert "tfds:toys" in names("classification")
    assert "tfds:" not in names()
    assert "tfds:toys" not in names("segmentation")
    assert registry.task_of("tfds:toys") == "classification"
    assert "channels" in registry.options("tfds:toys")
    assert RunConfig(data="tfds:toys").data == "tfds:toys"
    images, labels = labelled_pictures("tfds:toys", toys, examples=12)
    assert images.shape == (12, 6, 8, 3)
    assert np.bincount(labels).tolist() == [4, 4, 4]
    with pytest.raises(UsageError, match="'tfds:NAME'"):
        load("tfds:", data_dir=toys)


def test_parts_that_are_missing_are_held_back(tmp_path):
    write(tmp_path, {"train": pictures(60), "extra": pictures(3)}, features())
    data = load("tfds:toys", data_dir=tmp_path, batch_size=4, validation_share=0.25)
    assert (data.train_examples, data.validation_examples, data.test_examples) == (36, 12, 12)


def test_pictures_of_several_sizes_and_other_channels(tmp_path):
    splits = {"train": pictures(12) + pictures(12, size=(9, 4, 3))}
    write(tmp_path, splits, features((None, None, 3)))
    with pytest.raises(UsageError, match=r"`image_size` must be given.*4×9 to 8×6"):
        load("tfds:toys", data_dir=tmp_path, batch_size=2)
    data = load("tfds:toys", data_dir=tmp_path, batch_size=2, image_size=5, channels=1)
    assert data.image_shape == (5, 5, 1)


def test_the_set_says_what_is_the_picture_and_what_the_class(tmp_path):
    keys = ("photo", "breed")
    write(tmp_path, {"train": pictures(20, keys=keys)}, features(keys=keys), keys)
    assert load("tfds:toys", data_dir=tmp_path, batch_size=2).num_classes == 3


def test_a_part_without_classes_is_left_out_and_said(tmp_path, caplog):
    splits = {"train": pictures(30), "test": pictures(3, label=-1)}
    write(tmp_path, splits, features())
    with caplog.at_level(logging.WARNING):
        data = load("tfds:toys", data_dir=tmp_path, batch_size=2)
    assert "tfds:toys: part test has no classes, and is left out" in caplog.text
    assert data.test_examples == 6


def test_sets_of_something_else_are_refused_by_what_they_hold(tmp_path):
    text = tfds.features.FeaturesDict(
        {"text": tfds.features.Text(), "label": tfds.features.ClassLabel(names=CLASSES)}
    )
    write(tmp_path, {"train": [{"text": "a", "label": 0}]}, text, name="words")
    with pytest.raises(KerasNasError, match=r"text \(Text\)"):
        load("tfds:words", data_dir=tmp_path)
    write(tmp_path, {"test": pictures(3)}, features(), name="late")
    with pytest.raises(KerasNasError, match=r"`tfds:late` must have a part `train`.*\['test'\]"):
        load("tfds:late", data_dir=tmp_path)
    write(tmp_path, {"train": pictures(3, label=-1)}, features(), name="nameless")
    with pytest.raises(KerasNasError, match=r"must have a class for each picture to train on"):
        load("tfds:nameless", data_dir=tmp_path)


@pytest.mark.parametrize("name", ["no_such_set", "huggingface:mnist", "a b", "toys/", "../toys"])
def test_what_is_no_set_is_one_line(name, toys):
    with pytest.raises(UsageError, match=r"knows no|must be named as NAME") as caught:
        load(f"tfds:{name}", data_dir=toys)
    assert "\n" not in str(caught.value)


def test_nothing_is_downloaded_unasked(tmp_path):
    with pytest.raises(KerasNasError, match=rf"fetch_data --task=tfds:beans --data_dir={tmp_path}"):
        load("tfds:beans", data_dir=tmp_path)
    assert not list(tmp_path.iterdir())
