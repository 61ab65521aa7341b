from __future__ import annotations

import keras
import pytest
import tensorflow as tf

from keras_nas.errors import KerasNasError, UsageError
from keras_nas.search import Session, TrainConfig, run_stage
from keras_nas.tasks import Classification
from keras_nas.training.trainer import TrainStage
from tests.training.nets import random_images, small_net

COMPILED = Session(progress="off", jit_compile=True)


class CountedStage(TrainStage):
    """A training stage that counts its traces."""

    def __init__(self, model, data):
        task, config = Classification.of(model), TrainConfig(epochs=2, learning_rate=0.05)
        super().__init__("weights", model, data, None, task, config)
        self.traces = 0

    def train_step(self, batch):
        self.traces += 1
        return super().train_step(batch)


class Written(keras.layers.Layer):
    """Goes through text, which XLA does not know."""

    def call(self, inputs):
        return tf.strings.to_number(tf.strings.as_string(inputs))


def test_a_compiled_step_is_traced_once_and_gives_the_same_losses():
    found = {}
    for session in (Session(progress="off"), COMPILED):
        keras.utils.set_random_seed(0)
        stage = CountedStage(small_net(), random_images(40, 16))  # the last batch has 8 examples
        found[session.jit_compile] = run_stage(stage, session)
        assert stage.traces == 1
    for compiled, plain in zip(found[True], found[False], strict=True):
        assert compiled["loss"] == pytest.approx(plain["loss"], rel=1e-5)
        assert compiled["top1"] == plain["top1"]


def test_an_operation_that_xla_does_not_have_is_named():
    inputs = keras.Input((8, 8, 2))
    model = keras.Model(inputs, small_net()(Written(name="written")(inputs)))
    with pytest.raises(KerasNasError, match=r"^Stage 'weights' cannot .* no AsString \(.*written"):
        run_stage(CountedStage(model, random_images()), COMPILED)


def test_a_step_of_several_replicas_is_not_compiled():
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        stage = CountedStage(small_net(), random_images())
        with pytest.raises(UsageError, match="jit_compile=True with 2 replicas"):
            run_stage(stage, COMPILED)
