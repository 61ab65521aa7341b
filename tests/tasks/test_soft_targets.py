from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nas.errors import UsageError
from keras_nas.tasks import Classification, Segmentation, SuperResolution
from keras_nas.tasks.soft_targets import (
    sigmoid_divergence,
    sigmoid_logits,
    softmax_divergence,
    softmax_logits,
)
from keras_nas.tasks.task import Task

TAUGHT = np.array([[2.0, -1.0, 0.5], [0.0, 0.0, 4.0]], "float32")
OWN = np.array([[0.5, 1.0, -2.0], [3.0, 1.0, -1.0]], "float32")


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_it_is_the_divergence_that_keras_computes_of_probabilities(temperature):
    soft, own = softmax(TAUGHT / temperature), softmax(OWN / temperature)
    expected = temperature**2 * keras.losses.kl_divergence(soft, own)
    found = softmax_divergence(TAUGHT, OWN, temperature)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    np.testing.assert_allclose(softmax_divergence(OWN, OWN, temperature), [0, 0], atol=1e-5)


def test_its_gradient_is_that_of_hinton_et_al():
    """∂C/∂z = (q − p) / T (Eq. 2), times the T² of section 2.1."""
    own = tf.constant(OWN)
    with tf.GradientTape() as tape:
        tape.watch(own)
        loss = tf.reduce_sum(softmax_divergence(TAUGHT, own, 4.0))
    expected = 4.0 * (softmax(OWN / 4) - softmax(TAUGHT / 4))
    np.testing.assert_allclose(tape.gradient(loss, own), expected, atol=1e-5)


def test_a_class_that_the_network_is_sure_against_still_pulls():
    own = tf.constant([[0.0, 60.0]])
    with tf.GradientTape() as tape:
        tape.watch(own)
        loss = tf.reduce_sum(softmax_divergence([[5.0, -5.0]], own, 1.0))
    np.testing.assert_allclose(tape.gradient(loss, own), [[-1, 1]], atol=1e-3)


def test_sigmoids_are_compared_one_by_one():
    taught, own = (1 / (1 + np.exp(-z / 2)) for z in (TAUGHT, OWN))
    each = taught * np.log(taught / own) + (1 - taught) * np.log((1 - taught) / (1 - own))
    found = sigmoid_divergence(TAUGHT, OWN, 2.0)
    np.testing.assert_allclose(found, 4 * each.mean(-1), rtol=1e-4)


def test_logits_are_had_back_from_probabilities():
    back = keras.ops.convert_to_numpy(softmax_logits(softmax(TAUGHT)))
    np.testing.assert_allclose(back - back[:, :1], TAUGHT - TAUGHT[:, :1], atol=1e-5)
    assert np.isfinite(softmax_logits(np.array([[0.0, 1.0]]))).all()
    np.testing.assert_allclose(sigmoid_logits(1 / (1 + np.exp(-TAUGHT))), TAUGHT, atol=1e-4)
    assert np.isfinite(sigmoid_logits(np.array([0.0, 1.0]))).all()


def test_a_classifier_may_end_in_logits_or_in_a_softmax():
    by_logits = Classification(3).distill_loss(TAUGHT, OWN, 4.0)
    by_softmax = Classification(3, from_logits=False).distill_loss(
        softmax(TAUGHT), softmax(OWN), 4.0
    )
    np.testing.assert_allclose(by_softmax, by_logits, rtol=1e-4)
    sure = Classification(1, sigmoid=True).distill_loss(np.ones((2, 1)), np.zeros((2, 1)), 1.0)
    assert sure.shape == (2,)
    assert (sure.numpy() > 10).all()


def test_segmentation_compares_each_pixel():
    pixels = [np.tile(x[:, None, None], (1, 2, 3, 1)) for x in (TAUGHT, OWN)]
    pixels[1][0, 0, 0] = pixels[0][0, 0, 0]  # one of six is right
    found = Segmentation(3).distill_loss(*pixels, 2.0)
    expected = softmax_divergence(TAUGHT, OWN, 2.0).numpy() * [5 / 6, 1]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_images_are_compared_by_their_absolute_difference():
    high = np.ones((2, 4, 4, 3), "float32")
    found = SuperResolution(2).distill_loss(high, high * [[[[0.5, 1.0, 1.0]]]], 4.0)
    np.testing.assert_allclose(found, [1 / 6, 1 / 6], rtol=1e-5)


def test_a_task_that_does_not_say_is_named():
    class Own(Task):
        def loss(self, targets, outputs):
            return outputs

        def metrics(self):
            return []

    with pytest.raises(UsageError, match="Own does not say how far outputs are from a teacher's"):
        Own().distill_loss(TAUGHT, OWN, 1.0)
