"""A network of a useful and a useless edge."""

from __future__ import annotations

import keras
import numpy as np

from keras_nas.layers import ScaledEdge


def two_paths():
    inputs = keras.Input((4,))
    good = ScaledEdge(name="good")(keras.layers.Dense(1, use_bias=False, name="a")(inputs))
    bad = ScaledEdge(name="bad")(keras.layers.Dense(1, use_bias=False, name="b")(inputs))
    model = keras.Model(inputs, keras.layers.Add()([good, bad]))
    model.get_layer("a").kernel.assign([[1.0], [0.0], [0.0], [0.0]])
    model.get_layer("b").kernel.assign([[0.0], [0.0], [0.0], [1.0]])
    model.get_layer("a").trainable = model.get_layer("b").trainable = False
    return model


def train_two_paths(model, epochs=3):
    x = np.random.default_rng(0).normal(size=(1024, 4)).astype("float32")
    model.fit(x, x[:, :1], batch_size=64, epochs=epochs, verbose=0)
    return model.get_layer("good").scale.numpy()[0], model.get_layer("bad").scale.numpy()[0]
