from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nas.errors import UsageError
from keras_nas.tasks import Classification

P = np.array([[0.7, 0.2, 0.1], [0.25, 0.25, 0.5]], "float32")


def model(*last, classes=3):
    inputs = keras.Input((4,))
    x = keras.layers.Dense(classes)(inputs)
    for layer in last:
        x = layer(x)
    return keras.Model(inputs, x)


@pytest.mark.parametrize(
    ("last", "from_logits"),
    [
        ([], True),
        ([keras.layers.Softmax()], False),
        ([keras.layers.Activation("softmax")], False),
        ([keras.layers.Dense(3, activation="softmax")], False),
        ([keras.layers.Dense(3, activation="relu")], True),
        ([keras.ops.softmax], False),
    ],
)
def test_softmax_is_found(last, from_logits):
    task = Classification.of(model(*last))
    assert (task.from_logits, task.classes) == (from_logits, 3)


def test_softmax_is_found_in_a_nested_model():
    inner = model(keras.layers.Softmax())
    inputs = keras.Input((4,))
    assert not Classification.of(keras.Model(inputs, inner(inputs))).from_logits


def test_loss_of_probabilities_is_minus_log():
    loss = Classification(3, from_logits=False).loss(np.array([0, 2]), P)
    assert loss.numpy() == pytest.approx([-np.log(0.7), -np.log(0.5)], rel=1e-5)


@pytest.mark.parametrize("targets", [[0, 2], [[0], [2]], [[1, 0, 0], [0, 0, 1]]])
def test_targets_may_be_classes_columns_or_distributions(targets):
    logits = np.log(P)
    loss = Classification(3).loss(tf.constant(targets), logits)
    assert loss.numpy() == pytest.approx([-np.log(0.7), -np.log(0.5)], rel=1e-5)


def test_label_smoothing_parts_the_target():
    loss = Classification(3, label_smoothing=0.3).loss(tf.constant([0, 2]), np.log(P))
    log = -np.log(P)
    expected = [0.8 * log[0, 0] + 0.1 * (log[0, 1] + log[0, 2]),
                0.1 * (log[1, 0] + log[1, 1]) + 0.8 * log[1, 2]]  # fmt: skip
    assert loss.numpy() == pytest.approx(expected, rel=1e-5)


def test_half_precision_outputs_give_a_float32_loss():
    loss = Classification(3).loss(tf.constant([0, 2]), tf.cast(np.log(P), tf.float16))
    assert loss.dtype == tf.float32
    assert loss.numpy() == pytest.approx([-np.log(0.7), -np.log(0.5)], rel=1e-2)


def test_top1_and_top5():
    scores = np.tile(np.arange(10, dtype="float32"), (4, 1))
    top1, top5 = Classification(10).metrics()
    targets = tf.constant([9, 8, 5, 4])  # best, second, fifth, sixth
    for metric in (top1, top5):
        metric.update_state(targets, scores)
        metric.update_state(tf.one_hot(targets, 10), scores)
    assert (float(top1.result()), float(top5.result())) == (0.25, 0.75)


def test_ties_count_against():
    """Each class's output is as large as 1, 6 or 10 others': top-1 and top-5 are strict."""
    scores = np.array([[1] * 10, [5] * 6 + [1] * 4, [7] * 5 + [8] + [1] * 4, [np.nan] * 10])
    top1, top5 = Classification(10).metrics()
    for metric in (top1, top5):
        metric.update_state(tf.constant([0, 0, 5, 0]), scores.astype("float32"))
    assert (float(top1.result()), float(top5.result())) == (0.25, 0.25)
    top5.reset_state()
    top5.update_state(tf.constant([0]), np.float32([[5] * 5 + [1] * 5]))
    assert float(top5.result()) == 1.0


def test_a_constant_network_is_right_nowhere():
    top1, top5 = Classification(10).metrics()
    for metric in (top1, top5):
        metric.update_state(tf.range(10), np.zeros((10, 10), "float32"))
    assert (float(top1.result()), float(top5.result())) == (0.0, 0.0)


def test_no_top5_among_five_classes():
    assert [metric.name for metric in Classification(5).metrics()] == ["top1"]


def test_other_outputs_are_refused():
    inputs = keras.Input((8, 8, 3))
    with pytest.raises(UsageError, match=r"\(None, 8, 8, 2\)"):
        Classification.of(keras.Model(inputs, keras.layers.Conv2D(2, 1)(inputs)))


@pytest.mark.parametrize("options", [{"classes": 1}, {"classes": 3, "label_smoothing": 1.0}])
def test_arguments_out_of_range_are_refused(options):
    with pytest.raises(UsageError, match="Received"):
        Classification(**options)
