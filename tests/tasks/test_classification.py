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
        ([keras.layers.Softmax(), keras.layers.Flatten()], False),
        ([keras.layers.Dense(3, activation=tf.nn.softmax)], False),
        ([keras.layers.Dense(3, activation=keras.layers.Softmax())], False),
        ([keras.layers.Activation(keras.ops.log_softmax)], True),
        ([keras.layers.Dense(3, activation=keras.layers.PReLU())], True),
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


SIGMOIDS = [
    [keras.layers.Activation("sigmoid")],
    [keras.layers.Dense(1, activation="sigmoid")],
    [keras.layers.Dense(1, activation=tf.nn.sigmoid)],
    [keras.ops.sigmoid],
    [keras.layers.Activation("sigmoid"), keras.layers.Dropout(0.1)],
]


@pytest.mark.parametrize("last", SIGMOIDS)
def test_one_sigmoid_is_the_probability_of_class_1(last):
    task = Classification.of(model(*last, classes=1))
    assert (task.sigmoid, task.classes, task.from_logits) == (True, 1, False)
    p = np.float32([[0.8], [0.4], [0.5], [0.3]])
    for targets in ([1, 1, 1, 0], [[1], [1], [1], [0]], [1.0, 1.0, 1.0, 0.0]):
        loss = task.loss(tf.constant(targets), p)
        assert loss.numpy() == pytest.approx(-np.log([0.8, 0.4, 0.5, 0.7]), rel=1e-5)
        (metric,) = task.metrics()
        metric.update_state(tf.constant(targets), p)
        assert (metric.name, float(metric.result())) == ("top1", 0.5)  # 0.5 is on neither side
        assert task.right_outputs(tf.constant(targets)).tolist() == [[1], [1], [1], [0]]


def test_several_sigmoids_answer_each_for_itself():
    task = Classification.of(model(keras.layers.Activation("sigmoid")))
    assert (task.sigmoid, task.classes) == (True, 3)
    p = np.float32([[0.9, 0.6, 0.2], [0.4, 0.3, 0.2], [0.7, 0.7, 0.1]])
    hot = tf.constant([[1, 0, 0], [0, 0, 0], [1, 0, 0]])
    log = np.log([[0.9, 0.4, 0.8], [0.6, 0.7, 0.8], [0.7, 0.3, 0.9]])
    assert task.loss(hot, p).numpy() == pytest.approx(-log.mean(axis=1), rel=1e-4)
    top1, each = task.metrics()
    for metric in (top1, each):
        metric.update_state(hot, p)
    assert (each.name, float(each.result())) == ("binary_accuracy", pytest.approx(7 / 9))
    assert float(top1.result()) == pytest.approx(2 / 3)  # the third is a tie


def test_several_sigmoids_take_class_numbers():
    task = Classification(3, sigmoid=True)
    p = np.float32([[0.9, 0.6, 0.2], [0.4, 0.3, 0.2]])
    for targets in ([0, 2], [[0], [2]]):
        expected = task.loss(tf.constant([[1, 0, 0], [0, 0, 1]]), p)
        np.testing.assert_allclose(task.loss(tf.constant(targets), p), expected)
        top1, _ = task.metrics()
        top1.update_state(tf.constant(targets), p)
        assert float(top1.result()) == 0.5


def test_several_right_classes_are_right_if_any_is_the_best():
    top1, _ = Classification(3, sigmoid=True).metrics()
    top1.update_state(tf.constant([[1, 1, 0], [1, 1, 0]]), np.float32([[0.2, 0.9, 0.3], [0, 0, 1]]))
    assert float(top1.result()) == 0.5


def test_label_smoothing_of_a_sigmoid_goes_towards_a_half():
    loss = Classification(1, label_smoothing=0.2, sigmoid=True).loss(tf.constant([1]), P[:1, :1])
    assert loss.numpy() == pytest.approx([-0.9 * np.log(0.7) - 0.1 * np.log(0.3)], rel=1e-5)


@pytest.mark.parametrize("last", [[], [keras.layers.ReLU()], [keras.layers.Softmax()]])
def test_one_output_that_is_no_sigmoid_is_refused_in_a_line(last):
    with pytest.raises(UsageError, match=r"activation='sigmoid' for classes 0 and 1.*") as refusal:
        Classification.of(model(*last, classes=1))
    assert "\n" not in str(refusal.value)


def test_a_sigmoid_classifier_is_searched():
    """Class 1 is the bright images; labels are integers."""
    from keras_nas.search import DnalConfig, Session, TrainConfig, dnal

    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 96)
    images = random.normal(0, 0.3, (96, 6, 6, 1)) + labels[:, None, None, None]
    data = tf.data.Dataset.from_tensor_slices((images.astype("float32"), labels)).batch(16)
    inputs = keras.Input((6, 6, 1))
    x = keras.layers.Conv2D(6, 3, activation="relu")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    net = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(x))
    train = TrainConfig(epochs=4, learning_rate=0.3, weight_decay=0.0)
    config = DnalConfig(
        lambda_a=1e-3, weights=train, architecture=TrainConfig(epochs=2), finetune=train
    )
    result = dnal(net, data, validation_data=data, config=config, session=Session(progress="off"))
    assert result.history[-1]["val_top1"] > 0.9
    assert result.small.output_shape == (None, 1)


def test_other_outputs_are_refused():
    inputs = keras.Input((8, 8, 3))
    with pytest.raises(UsageError, match=r"\(None, 8, 8, 2\)"):
        Classification.of(keras.Model(inputs, keras.layers.Conv2D(2, 1)(inputs)))


@pytest.mark.parametrize("options", [{"classes": 1}, {"classes": 3, "label_smoothing": 1.0}])
def test_arguments_out_of_range_are_refused(options):
    with pytest.raises(UsageError, match="Received"):
        Classification(**options)
