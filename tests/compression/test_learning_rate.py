"""The largest learning rate by which a trained network stays what it is."""

from __future__ import annotations

import keras
import pytest

import keras_nas
from keras_nas.compression import CompressConfig
from keras_nas.compression.learning_rate import SHARES, find_rate
from keras_nas.search import Session, TrainConfig
from keras_nas.tasks import Classification
from tests.training.nets import random_images, trained_net

QUIET = Session(progress="off")


@pytest.fixture
def trained():
    return trained_net()


def found(net, rate, nothing=0.25):
    config = TrainConfig(epochs=9, learning_rate=rate, schedule="cosine")
    return find_rate(net, random_images(256), Classification.of(net), config, 0.98, nothing)


def test_a_rate_that_harms_nothing_is_kept(trained):
    rate = found(trained, 0.05)
    assert (rate.value, rate.lost, rate.reason("top1")) == (0.05, {}, "")


def test_a_rate_at_which_all_is_forgotten_is_lowered(trained):
    rate = found(trained, 20.0)
    assert rate.value in [share * 20.0 for share in SHARES[1:]]
    assert 20.0 in rate.lost
    assert rate.lost[20.0] < 0.25 + 0.75 * (0.98 - 0.25)
    assert "forgets what it knows" in rate.reason("top1")
    assert "from 20" in rate.reason("top1")


def test_a_network_that_training_sees_by_other_statistics_is_not_blamed_on_the_rate(trained):
    for layer in trained.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.gamma.assign(0.0 * layer.gamma)
    rate = found(trained, 0.05, nothing=0.35)
    assert (rate.value, rate.lost) == (0.05, {})
    assert rate.unmoved is not None
    assert rate.unmoved <= 0.35
    assert "statistics are not those of these data" in rate.reason("top1")


def test_a_compression_tells_that_it_goes_slower(trained, monkeypatch):
    monkeypatch.setattr("keras_nas.compression.recipe.RATES", {"sgd": 20.0})
    result = keras_nas.compress(
        trained, random_images(256), random_images(96, seed=1), session=QUIET,
        config=CompressConfig(target_macs="0.7x", epochs=2),
    )  # fmt: skip
    assert result.plan.recipe.settings.finetune.learning_rate < 20.0
    assert any("forgets" in line for line in result.plan.lines())
