"""Where alike normalizations share a function, each has its own values and statistics."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from keras_nas.training.alike_layers import AlikeNormalizations

IMAGES = np.random.default_rng(0).normal(3.0, 2.0, (4, 5, 5, 6)).astype("float32")


def normalizations():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.BatchNormalization(momentum=m) for m in (0.9, 0.9, 0.9, 0.5)]
    chance = np.random.default_rng(1)
    for layer in layers:
        layer.build(IMAGES.shape)
        layer.set_weights([chance.uniform(0.5, 2.0, 6) for _ in layer.weights])
    return layers


def passed(layers, images, training):
    with tf.GradientTape() as tape:
        tape.watch(images)
        outputs = [layer(images, training=training) for layer in layers]
        loss = tf.add_n([tf.reduce_sum(output**2) for output in outputs])
    weights = [weight.value for layer in layers for weight in layer.trainable_weights]
    return outputs, tape.gradient(loss, [images, *weights])


def test_values_gradients_and_statistics_are_each_layers_own():
    for training in (True, False):
        plain, shared, alike = normalizations(), normalizations(), AlikeNormalizations()
        expected = tf.function(lambda x, of=plain, t=training: passed(of, x, t), autograph=False)

        @tf.function(autograph=False)
        def through(images, alike=alike, shared=shared, training=training):
            with alike.called(shared):
                return passed(shared, images, training)

        images = tf.constant(IMAGES)
        for mine, theirs in zip(
            tf.nest.flatten(through(images)), tf.nest.flatten(expected(images)), strict=True
        ):
            np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())
        for mine, theirs in zip(shared, plain, strict=True):
            for one, other in zip(mine.get_weights(), theirs.get_weights(), strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-6)
        library = through.get_concrete_function(images).graph.as_graph_def().library.function
        names = [function.signature.name for function in library]
        assert sum(name.startswith("__forward__normalized") for name in names) == 2, names


def test_layers_are_as_before_afterwards_and_others_are_left_alone():
    layers = [*normalizations(), keras.layers.LayerNormalization(), keras.layers.ReLU()]
    with AlikeNormalizations().called(layers):
        assert ["call" in vars(layer) for layer in layers] == [True] * 4 + [False] * 2
    assert not any("call" in vars(layer) for layer in layers)
