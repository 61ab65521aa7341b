from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_nas.errors import UsageError
from keras_nas.models import deeplab_mobilenet_v2
from keras_nas.tasks.segmentation import IGNORE, Segmentation, colored, palette


def labels_and_logits(seed=0, classes=5, shape=(3, 6, 7), ignored=0.2):
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, shape).astype("uint8")
    labels[random.random(shape) < ignored] = IGNORE
    logits = random.normal(size=(*shape, classes)).astype("float32")
    # Right in about half of the pixels.
    right = (random.random(shape) < 0.4)[..., None] * np.eye(classes + 1)[
        np.minimum(labels, classes)
    ]
    return labels, logits + 5 * right[..., :classes].astype("float32")


def confusion_matrix(labels, predictions, classes):
    counts = labels != IGNORE
    matrix = np.zeros((classes, classes), int)
    np.add.at(matrix, (labels[counts].astype(int), predictions[counts]), 1)
    return matrix


def result(task, batches):
    metrics = task.metrics()
    for labels, logits in batches:
        for metric in metrics:
            metric.update_state(labels, logits)
    return {metric.name: float(metric.result()) for metric in metrics}


def test_metrics_are_those_of_a_confusion_matrix():
    batches = [labels_and_logits(seed) for seed in range(3)]
    matrix = sum(confusion_matrix(y, z.argmax(-1), 5) for y, z in batches)
    hits = np.diag(matrix)
    iou = hits / (matrix.sum(0) + matrix.sum(1) - hits)
    found = result(Segmentation(5), batches)
    assert found["miou"] == pytest.approx(iou.mean(), abs=1e-6)
    assert found["pixel_accuracy"] == pytest.approx(hits.sum() / matrix.sum(), abs=1e-6)
    assert 0.2 < found["miou"] < 0.9


def test_miou_by_hand():
    #  truth 0 0 1 1 .   prediction 0 1 1 1 0   IoU: 1 / 2 and 2 / 3
    labels = np.array([[[0, 0, 1, 1, IGNORE]]])
    logits = np.eye(2)[[[[0, 1, 1, 1, 0]]]].astype("float32")
    found = result(Segmentation(2), [(labels, logits)])
    assert found["miou"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert found["pixel_accuracy"] == pytest.approx(3 / 4)


def test_a_class_that_is_nowhere_does_not_count():
    labels = np.zeros((1, 2, 2), int)
    logits = np.broadcast_to(np.array([1.0, 0, 0], "float32"), (1, 2, 2, 3))
    assert result(Segmentation(3), [(labels, logits)])["miou"] == pytest.approx(1.0)


def test_loss_is_the_mean_over_the_pixels_that_count():
    labels, logits = labels_and_logits()
    log_sum = np.log(np.exp(logits).sum(-1))
    picked = np.take_along_axis(logits, np.minimum(labels, 4)[..., None].astype(int), -1)[..., 0]
    pixel = log_sum - picked
    expected = [pixel[i][labels[i] != IGNORE].mean() for i in range(len(labels))]
    np.testing.assert_allclose(Segmentation(5).loss(labels, logits), expected, rtol=1e-5)


def test_ignored_pixels_have_no_gradient_and_an_empty_image_no_loss():
    import tensorflow as tf

    labels, logits = labels_and_logits()
    labels[2] = IGNORE
    logits = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        losses = Segmentation(5).loss(labels, logits)
    gradient = tape.gradient(losses, logits).numpy()
    assert np.all(gradient[labels == IGNORE] == 0)
    assert np.all(np.any(gradient[labels != IGNORE] != 0, axis=-1))
    assert losses.numpy()[2] == 0


def test_half_precision_outputs():
    labels, logits = labels_and_logits()
    task = Segmentation(5)
    loss = task.loss(labels, keras.ops.cast(logits, "float16"))
    assert loss.dtype == "float32"
    np.testing.assert_allclose(loss, task.loss(labels, logits), rtol=1e-2)


def test_palette_is_vocs():
    colors = palette()
    assert colors[15].tolist() == [192, 128, 128]  # person
    assert colors[20].tolist() == [0, 64, 128]  # tvmonitor
    assert colors[255].tolist() == [224, 224, 192]  # void
    assert len({tuple(color) for color in colors.tolist()}) == 256
    np.testing.assert_array_equal(colored([[0, 1]]), [[[0, 0, 0], [128, 0, 0]]])


def test_of_a_model():
    model = deeplab_mobilenet_v2((32, 32, 3), num_classes=7, head_width=8)
    assert Segmentation.of(model).classes == 7
    inputs = keras.Input((4,))
    with pytest.raises(UsageError, match="needs a model with one output"):
        Segmentation.of(keras.Model(inputs, keras.layers.Dense(2)(inputs)))
    with pytest.raises(UsageError, match="`classes` must be from 2 to 255"):
        Segmentation(1)


def test_images_are_the_input_the_truth_and_the_prediction():
    labels, logits = labels_and_logits()
    images = np.linspace(-2, 2, labels.size, dtype="float32").reshape(*labels.shape, 1)
    shown = Segmentation(5).images(images, labels, lambda x: logits)
    assert (shown.dtype, shown.shape) == (np.uint8, (3, 6, 21, 3))
    assert (shown[..., :7, :].min(), shown[..., :7, :].max()) == (0, 255)
    np.testing.assert_array_equal(shown[..., 7:14, :], colored(labels))
    counts = labels != IGNORE
    expected = colored(logits.argmax(-1))
    np.testing.assert_array_equal(shown[..., 14:, :][counts], expected[counts])
    np.testing.assert_array_equal(shown[..., 14:, :][~counts], colored(labels)[~counts])
