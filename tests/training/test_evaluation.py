"""What an evaluation over a data set traces, and says."""

from __future__ import annotations

import pytest
import tensorflow as tf

from keras_nas.tasks import Classification
from keras_nas.training.evaluation import Evaluator
from tests.training.nets import random_images, small_net


@pytest.fixture
def of_tensorflow(caplog):
    """What TensorFlow's logger says."""
    tf.get_logger().addHandler(caplog.handler)
    yield caplog
    tf.get_logger().removeHandler(caplog.handler)


def test_many_short_evaluations_are_no_excessive_tracing(of_tensorflow):
    model = small_net()
    task, data = Classification.of(model), random_images(24, 16)
    values = [Evaluator(model, task, data)() for _ in range(6)]
    assert values == values[:1] * 6
    assert "retracing" not in of_tensorflow.text


def test_batches_of_two_sizes_are_traced_once():
    model = small_net()
    traces = []

    class Counted(Classification):
        def loss(self, targets, outputs):
            traces.append(outputs.shape)
            return super().loss(targets, outputs)

    evaluate = Evaluator(model, Counted(4), random_images(24, 16))
    evaluate()
    evaluate()
    assert traces == [tf.TensorShape([None, 4])]
