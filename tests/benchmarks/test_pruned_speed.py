"""What the benchmark of pruned networks' speed compares, and when a mark counts as missed."""

from __future__ import annotations

import dataclasses

import keras
import pytest
from keras import layers

import keras_nas as kn
from benchmarks.pruned_speed import Row, missed, pruned

GOOD = Row("small_resnet", "groups", "int8", 1, 0.5, 0.58, 1.0, 0, 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, []),
        ({"time": 0.6}, ["small_resnet int8 on 1: yield 0.83 is below 0.85"]),
        ({"network": "small_vgg"}, ["small_vgg int8 on 1: yield 0.86 is below 0.92"]),
        ({"milliseconds": 1.3}, ["small_resnet int8 on 1: 1.08 of uniform's time"]),
        ({"gathers": 2, "partitions": 3}, ["2 gathers, pads or slices", "3 parts of XNNPACK"]),
    ],
)
def test_what_counts_as_missed(change, said):
    row = dataclasses.replace(GOOD, **change)
    found = missed(row, dataclasses.replace(row, way="uniform", milliseconds=1.2))
    assert len(found) == len(said)
    assert all(line.endswith(end) for line, end in zip(found, said, strict=True))


def residual_net():
    x = inputs = keras.Input((8, 8, 1))
    x = stem = layers.Conv2D(32, 3, padding="same")(x)
    x = layers.Conv2D(64, 3, padding="same", activation="relu")(x)
    x = layers.Conv2D(32, 3, padding="same")(x)
    x = layers.Conv2D(48, 3, activation="relu")(layers.Add()([stem, x]))
    return keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))


def test_the_ways_have_the_same_macs_and_the_shapes_that_they_say():
    models = pruned(residual_net(), "0.5x")
    macs = {way: kn.costs.count(model).macs for way, model in models.items()}
    for way in ("branches", "groups", "uniform", "uniform_8"):
        assert 0.35 * macs["full"] < macs[way] <= 0.5 * macs["full"], way
    widths = {
        way: [layer.filters for layer in model.layers if hasattr(layer, "filters")]
        for way, model in models.items()
    }
    for way in ("groups", "uniform_8"):
        assert all(width % 8 == 0 for width in widths[way]), way
        assert not any("gather" in type(layer).__name__.lower() for layer in models[way].layers)
    shares = [some / all_ for some, all_ in zip(widths["uniform"], widths["full"], strict=True)]
    assert max(shares) - min(shares) < 0.1
