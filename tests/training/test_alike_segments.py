"""Where alike segments are traced once, values, gradients and statistics are the model's."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nas import models
from keras_nas.layers.edge_scales import join_scales
from keras_nas.models import DsoSpace
from keras_nas.search.dso.edge_stage import scaled_edges
from keras_nas.tasks import Classification
from keras_nas.training.alike_segments import Segments, segments_of
from keras_nas.training.evaluation import Evaluator
from tests.training.nets import arrays


def dso_net(scope):
    keras.utils.set_random_seed(1)
    space = DsoSpace(
        (8, 8, 3), 4, stage_widths=(4, 8), stage_blocks=(3, 3), levels=2,
        operations=("sep3", "max3"), scope=scope,
    )  # fmt: skip
    model = space.supernet()
    join_scales(scaled_edges(model))
    return model


def resnet(policy="float32"):
    keras.utils.set_random_seed(1)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        return models.create("resnet20_cifar", input_shape=(8, 8, 3), num_classes=4)
    finally:
        keras.config.set_dtype_policy(before)


def stepped(model, forward):
    """Outputs and gradients of one step, which moves the model's statistics."""
    images = keras.random.normal((4, 8, 8, 3), seed=2)

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            outputs = tf.cast(forward(images, training=True), tf.float32)
            loss = tf.reduce_sum(outputs * outputs)
        weights = [variable.value for variable in model.trainable_variables]
        return outputs, tape.gradient(loss, weights)

    outputs, gradients = step()
    nodes = step.get_concrete_function().graph.as_graph_def().node
    return outputs.numpy(), [gradient.numpy() for gradient in gradients], len(nodes)


@pytest.mark.parametrize(
    ("make", "tolerance"),
    [
        (lambda: dso_net("full"), 1e-5),
        (lambda: dso_net("share"), 1e-5),
        (resnet, 1e-5),
        (lambda: resnet("mixed_bfloat16"), 0.0),
    ],
    ids=["full", "share", "resnet", "mixed"],
)
def test_values_gradients_and_statistics_are_the_models(make, tolerance):
    model = make()
    expected, gradients, nodes = stepped(model, model)
    statistics = arrays(model)
    again = make()
    found, others, fewer = stepped(again, Segments(again))
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
    for mine, theirs in zip(others, gradients, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())
    for name, value in statistics.items():
        np.testing.assert_allclose(arrays(again)[name], value, rtol=0, atol=1e-5, err_msg=name)
    assert fewer < nodes


def test_alike_blocks_are_traced_once():
    model = dso_net("full")
    kinds = {id(call._alike) for call in Segments(model)._calls if hasattr(call, "_alike")}
    assert len(segments_of(model)) > len(kinds) >= 2


def test_inference_moves_no_statistics():
    model = resnet()
    before = arrays(model)
    images = keras.random.normal((4, 8, 8, 3), seed=2)
    found = Segments(model)(images, training=False)
    np.testing.assert_allclose(found, model(images, training=False), rtol=1e-5, atol=1e-6)
    for name, value in arrays(model).items():
        np.testing.assert_array_equal(value, before[name])


def test_an_evaluation_by_segments_gives_the_models_values_to_the_last_bit():
    model = dso_net("share")
    random = np.random.default_rng(3)
    images = random.normal(size=(24, 8, 8, 3)).astype("float32")
    data = tf.data.Dataset.from_tensor_slices((images, random.integers(0, 4, 24))).batch(10)
    task = Classification.of(model)
    assert Evaluator(Segments(model), task, data)() == Evaluator(model, task, data)()


def test_a_layer_of_the_users_is_called_as_it_is():
    class Doubled(keras.layers.Layer):
        def call(self, inputs):
            return 2 * inputs

    inputs = x = keras.Input((8, 8, 3))
    for _ in range(3):
        x = keras.layers.Add()([x, Doubled()(x)])
    model = keras.Model(inputs, x)
    images = keras.random.normal((2, 8, 8, 3), seed=2)
    np.testing.assert_allclose(Segments(model)(images), 27 * images, rtol=1e-6)


def test_a_model_without_alike_segments_is_called_whole():
    inputs = x = keras.Input((8, 8, 3))
    for width in (3, 5):
        x = keras.layers.Conv2D(width, 1)(x)
        x = keras.layers.Add()([x, x])
    model = keras.Model(inputs, x)
    assert Segments(model).segments == [model]


@pytest.mark.parametrize("replicas", [1, 2])
def test_every_replica_uses_variables_of_its_own(replicas, mirrored):
    def stepped_on_replicas(alike):
        strategy = mirrored if replicas > 1 else tf.distribute.MirroredStrategy(["CPU:0"])
        with strategy.scope():
            model = resnet()
            forward = Segments(model) if alike else model
        images = keras.random.normal((4, 8, 8, 3), seed=2)

        @tf.function(autograph=False)
        def step():
            def on_one():
                with tf.GradientTape() as tape:
                    loss = tf.reduce_sum(tf.square(forward(images, training=True)))
                return tape.gradient(loss, model.trainable_variables[0].value)

            return strategy.experimental_local_results(strategy.run(on_one))[-1]

        return step().numpy(), arrays(model)

    expected, statistics = stepped_on_replicas(False)
    found, moved = stepped_on_replicas(True)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    for name, value in statistics.items():
        np.testing.assert_allclose(moved[name], value, rtol=0, atol=1e-5, err_msg=name)
