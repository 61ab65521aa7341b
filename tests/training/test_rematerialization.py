from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nas.errors import KerasNasError
from keras_nas.models import DsoSpace, small_resnet
from keras_nas.training.rematerialization import Rematerialized
from keras_nas.training.step import values


def gradients(model, forward, x):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(forward(x, training=True)))
    return loss, tape.gradient(loss, values(model.trainable_variables))


def pair(build):
    """Two equal models."""
    keras.utils.set_random_seed(1)
    one, two = build(), build()
    two.set_weights(one.get_weights())
    return one, two


SPACE = DsoSpace(
    input_shape=(8, 8, 3), num_classes=4, stage_widths=(4, 6), stage_blocks=(2, 1), levels=2,
    operations=("sep3", "max3"),
)  # fmt: skip


@pytest.mark.parametrize("graph_mode", [False, True])
def test_values_gradients_and_statistics_are_the_models(graph_mode):
    plain, model = pair(dataclasses.replace(SPACE, stage_blocks=(1, 1), levels=1).supernet)
    rematerialized = Rematerialized(model)
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")

    def run(of, forward):
        step = lambda x: gradients(of, forward, x)  # noqa: E731
        return (tf.function(step) if graph_mode else step)(tf.constant(x))

    expected_loss, expected = run(plain, plain)
    loss, found = run(model, rematerialized)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    for a, b in zip(model.non_trainable_variables, plain.non_trainable_variables, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-6, err_msg=a.path)


def test_cuts_lie_between_the_blocks():
    rematerialized = Rematerialized(SPACE.supernet())
    ends = [segment.outputs[0]._keras_history.operation.name for segment in rematerialized.segments]
    assert ends == [
        "stem_relu",
        "stage1_block1_add",
        "stage1_block2_add",
        "stage1_reduction_add",
        "stage2_block1_add",
        "logits",
    ]
    assert len(Rematerialized(small_resnet()).segments) > 3


def test_what_cannot_be_repeated_is_refused():
    with pytest.raises(KerasNasError, match=r"cannot repeat random numbers.*head_dropout"):
        Rematerialized(SPACE.network(dropout=0.5))
    inputs = keras.Input((4,))
    two = keras.Model(inputs, [keras.layers.Dense(1)(inputs), keras.layers.Dense(1)(inputs)])
    with pytest.raises(KerasNasError, match="one input and one output"):
        Rematerialized(two)
