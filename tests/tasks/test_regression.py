from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_nas
from keras_nas.compression import CompressConfig
from keras_nas.search import Session
from keras_nas.search.dead_network import ConstantOutput
from keras_nas.tasks import Regression

TARGETS = np.array([[1.0, 0.0], [3.0, 0.0], [5.0, 6.0]], "float32")
OUTPUTS = np.array([[1.0, 1.0], [2.0, 0.0], [5.0, 5.0]], "float32")


def values(targets, outputs):
    found = Regression().metrics()
    for metric in found:
        metric.update_state(tf.constant(targets), tf.constant(outputs))
    return {metric.name: float(metric.result()) for metric in found}


def test_loss_and_metrics_by_hand():
    task = Regression()
    np.testing.assert_allclose(task.loss(TARGETS, OUTPUTS), [0.5, 0.5, 0.5])
    # Σ (y − ŷ)² = 3; about the means 3 and 2 the sums are 8 and 24
    assert values(TARGETS, OUTPUTS) == pytest.approx({"r2": 1 - 3 / 32, "mean_absolute_error": 0.5})
    assert values(TARGETS, TARGETS)["r2"] == pytest.approx(1.0)


def test_axes_before_the_last_count_as_examples():
    stacked = values(TARGETS[None].repeat(2, 0), OUTPUTS[None].repeat(2, 0))
    assert stacked == pytest.approx(values(TARGETS, OUTPUTS))
    np.testing.assert_allclose(Regression().loss(TARGETS[None], OUTPUTS[None]), [0.5])


def test_one_number_needs_no_axis():
    flat = values(TARGETS[:, 0], OUTPUTS[:, :1])
    assert flat == pytest.approx(values(TARGETS[:, :1], OUTPUTS[:, :1]))
    np.testing.assert_allclose(Regression().loss(TARGETS[:, 0], OUTPUTS[:, :1]), [0.0, 1.0, 0.0])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_judged_in_float32(dtype):
    loss = Regression().loss(tf.constant(TARGETS), tf.cast(OUTPUTS, dtype))
    assert loss.dtype == tf.float32
    np.testing.assert_allclose(loss, [0.5, 0.5, 0.5])


def test_a_constant_reaches_nothing():
    constant = ConstantOutput(Regression(), tf.data.Dataset.from_tensors((OUTPUTS, TARGETS)))
    assert constant.known
    assert constant.value == pytest.approx(0.0, abs=1e-4)


@pytest.fixture(scope="module")
def autoencoder():
    """One that has learned to pass twenty numbers on which lie in three dimensions."""
    keras.utils.set_random_seed(0)
    inputs = x = keras.Input((20,))
    for width in (32, 8, 32):
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(layers.Dense(width)(x)))
    model = keras.Model(inputs, layers.Dense(20)(x), name="autoencoder")
    model.compile(keras.optimizers.Adam(1e-2), "mse")
    x = numbers(1024)
    model.fit(x, x, epochs=12, batch_size=64, verbose=0)
    return model


def numbers(examples, seed=0):
    mixing = np.random.default_rng(5).normal(size=(3, 20))
    return (np.random.default_rng(seed).normal(size=(examples, 3)) @ mixing).astype("float32")


def test_an_autoencoder_is_compressed(autoencoder):
    x, held_out = numbers(1024), numbers(256, 1)
    result = keras_nas.compress(
        autoencoder, (x, x), (held_out, held_out), budget={"macs": "0.5x"},
        config=CompressConfig(epochs=10), batch_size=16, task=Regression(),
        session=Session(progress="off"),
    )  # fmt: skip
    assert result.plan.recipe.settings.finetune.optimizer == "adam"
    assert result.outcome.met
    assert result.before["r2"] > 0.9
    assert result.after["r2"] > result.before["r2"] - 0.1
    assert "r2" in str(result.outcome)
