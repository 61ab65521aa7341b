"""Models of Keras 2 (tf_keras), and files of them."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tf_keras

L = tf_keras.layers
RANDOM = np.random.default_rng(0)


def of(layer, *shape, dtype=None):
    inputs = tf_keras.Input(shape, dtype=dtype)
    return tf_keras.Model(inputs, layer(inputs))


def shared_and_nested():
    j = tf_keras.Input((6,))
    inner = tf_keras.Model(j, L.Dense(6)(L.BatchNormalization()(j)), name="inner")
    i = tf_keras.Input((6,))
    return tf_keras.Model(i, L.Add()([inner(i), inner(L.Dense(6)(i))]))


def nested_of_two():
    a, b = tf_keras.Input((6,)), tf_keras.Input((6,))
    inner = tf_keras.Model([a, b], [L.Dense(3)(b), L.Dense(3)(a)])
    i = tf_keras.Input((6,))
    return tf_keras.Model(i, L.Subtract()(inner([i, L.Dense(6)(i)])))


def nested_sequential():
    i = tf_keras.Input((6,))
    return tf_keras.Model(i, tf_keras.Sequential([L.Dense(5, input_shape=(6,)), L.Dense(3)])(i))


def shared_layer():
    i, dense = tf_keras.Input((6,)), L.Dense(6)
    return tf_keras.Model(i, L.Subtract()([dense(i), dense(dense(i))]))


def built_without_input():
    model = tf_keras.Sequential([L.Dense(5, activation="hard_sigmoid"), L.Dense(2)])
    model.build((None, 6))
    return model


def self_attention():
    i = tf_keras.Input((5, 4))
    return tf_keras.Model(i, L.MultiHeadAttention(2, 3)(i, i))


def attention():
    i = tf_keras.Input((5, 4))
    return tf_keras.Model(i, L.Attention()([i, i]))


def words():
    i = tf_keras.Input((5,), dtype="int32")
    return tf_keras.Model(i, L.LSTM(3)(L.Embedding(9, 4, mask_zero=True, input_length=5)(i)))


def functions():
    i = tf_keras.Input((6, 6, 4))
    x = L.Conv2D(4, 1)(i)
    y = tf.concat([i + x, 2.0 - x, i / 127.5 - x, tf.maximum(i, x) * x], axis=-1)
    y = tf.nn.relu6(tf.clip_by_value(y, -1.0, 4.0)[:, 1:5, ::2, :8])
    y = tf.pad(tf.nn.depth_to_space(y, 2), [[0, 0], [1, 0], [0, 1], [0, 0]])
    y = tf.image.resize(y, (4, 4)) * tf.reduce_mean(y, axis=[1, 2], keepdims=True)
    y = tf.reshape(tf.transpose(y, [0, 3, 1, 2]), [-1, 2, 16])
    return tf_keras.Model(i, tf.expand_dims(tf.math.l2_normalize(tf.nn.softmax(y), axis=-1), 1))


def named_with_slashes():
    i = tf_keras.Input((6,), name="my/input")
    return tf_keras.Model(i, L.Dense(3, name="block/dense")(i))


def dictionaries():
    a, b = tf_keras.Input((6,), name="a"), tf_keras.Input((6,), name="b")
    return tf_keras.Model({"a": a, "b": b}, {"sum": L.Add()([L.Dense(6)(a), b])})


def outputs_in_lists():
    i = tf_keras.Input((6,))
    return tf_keras.Model(i, [[L.Dense(2)(i)], L.Dense(3)(i)])


def mobilenet_v3():
    return tf_keras.applications.MobileNetV3Small(
        weights=None, input_shape=(32, 32, 3), classes=3, minimalistic=False
    )


def half_precision():
    i = tf_keras.Input((6, 6, 4))
    x = L.Conv2D(3, 3, dtype=tf_keras.mixed_precision.Policy("mixed_float16"))(i)
    return tf_keras.Model(i, L.Activation("linear", dtype="float32")(x))


def adapted(axis):
    layer = L.Normalization(axis=axis)
    layer.adapt(RANDOM.normal(3, 2, (50, 6)).astype("float32"))
    return of(layer, 6)


MODELS = {
    "depthwise": lambda: of(L.DepthwiseConv2D(3, depth_multiplier=2), 6, 6, 4),
    "depthwise 1D": lambda: of(L.DepthwiseConv1D(2), 5, 4),
    "separable": lambda: of(L.SeparableConv2D(3, 3), 6, 6, 4),
    "transposed": lambda: of(L.Conv2DTranspose(3, 3, strides=2, padding="same"), 6, 6, 4),
    "grouped": lambda: of(L.Conv2D(4, 3, groups=2), 6, 6, 4),
    "batch normalization": lambda: of(L.BatchNormalization(axis=[3]), 6, 6, 4),
    "frozen batch normalization": lambda: of(L.BatchNormalization(trainable=False), 6, 6, 4),
    "hard sigmoid": lambda: of(L.Activation("hard_sigmoid"), 6),
    "hard sigmoid of a convolution": lambda: of(L.Conv2D(3, 3, activation="hard_sigmoid"), 6, 6, 4),
    "hard sigmoid of a cell": lambda: of(L.LSTM(3, recurrent_activation="hard_sigmoid"), 5, 4),
    "gru": lambda: of(L.GRU(3, reset_after=False), 5, 4),
    "bidirectional": lambda: of(L.Bidirectional(L.GRU(3, return_sequences=True)), 5, 4),
    "hard bidirectional": lambda: of(
        L.Bidirectional(L.LSTM(3, recurrent_activation="hard_sigmoid")), 5, 4
    ),
    "cells": lambda: of(L.RNN([L.LSTMCell(3), L.GRUCell(2)]), 5, 4),
    "time distributed": lambda: of(L.TimeDistributed(L.DepthwiseConv2D(3)), 2, 6, 6, 4),
    "convolutional lstm": lambda: of(L.ConvLSTM2D(2, 2), 3, 4, 4, 2),
    "leaky relu": lambda: of(L.LeakyReLU(alpha=0.2), 6),
    "thresholded relu": lambda: of(L.ThresholdedReLU(theta=0.3), 6),
    "attention": attention,
    "dropout": lambda: of(L.SpatialDropout2D(0.3), 6, 6, 4),
    "bins": lambda: of(L.Discretization([0.0, 1.0], output_mode="one_hot"), 1),
    "lookup": lambda: of(L.IntegerLookup(vocabulary=[1, 2], output_mode="count"), 1, dtype="int64"),
    "statistics": lambda: adapted(-1),
    "statistics of all": lambda: adapted(None),
    "sequential": lambda: tf_keras.Sequential([L.Dense(5, input_shape=(6,)), L.Dense(2)]),
    "built": built_without_input,
    "nested and shared": shared_and_nested,
    "nested of two": nested_of_two,
    "nested sequential": nested_sequential,
    "shared layer": shared_layer,
    "self attention": self_attention,
    "words": words,
    "functions": functions,
    "slashes": named_with_slashes,
    "dictionaries": dictionaries,
    "lists": outputs_in_lists,
    "mobilenet": mobilenet_v3,
    "half precision": half_precision,
}  # fmt: skip


def saved(model, path):
    """The file, inputs, and what Keras 2 answers; random weights and statistics."""
    for variable in model.variables:
        if variable.dtype == tf.float32 and variable.name not in ("mean:0", "variance:0"):
            spread = 0.05 if len(model.layers) > 50 else 0.5
            positive = "variance" in variable.name or "gamma" in variable.name
            low, high = (0.5, 1.5) if positive else (-spread, spread)
            variable.assign(RANDOM.uniform(low, high, variable.shape))
    x = [
        RANDOM.integers(0, 4, (2, *t.shape[1:])).astype(t.dtype.name)
        if t.dtype.is_integer
        else RANDOM.normal(size=(2, *t.shape[1:])).astype("float32")
        for t in model.inputs
    ]
    x = dict(zip(model.input, x, strict=True)) if isinstance(model.input, dict) else x
    x = x[0] if isinstance(x, list) and len(x) == 1 else x
    model.save(path)
    return x, model(x, training=False)
