"""Small networks and data for the searches' tests."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from keras_nas.data import DataSet


def small_net(classes=4, dtype=None):
    """Two convolutions, a residual one, and a classifier: 3 × 8 channels that can be gated."""
    inputs = keras.Input((8, 8, 2), name="image")
    x = inputs
    for name in ("a", "b"):
        x = layers.Conv2D(8, 3, padding="same", use_bias=False, name=f"{name}_conv", dtype=dtype)(x)
        x = layers.BatchNormalization(momentum=0.8, name=f"{name}_bn", dtype=dtype)(x)
        x = layers.ReLU(name=f"{name}_relu", dtype=dtype)(x)
    y = layers.Conv2D(8, 1, use_bias=False, name="c_conv", dtype=dtype)(x)
    y = layers.BatchNormalization(momentum=0.8, name="c_bn", dtype=dtype)(y)
    x = layers.Add(name="add")([x, y])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    outputs = layers.Dense(classes, name="classifier", dtype="float32")(x)
    return keras.Model(inputs, outputs, name="small_net")


def random_images(examples=64, batch=16, classes=4, seed=0):
    """Images whose class is the quadrant of a bright spot: learnt within an epoch or two."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, examples)
    images = random.normal(0, 0.3, (examples, 8, 8, 2)).astype("float32")
    for image, label in zip(images, labels, strict=True):
        image[:, :, 0] += 1.5 * (label % 2)
        image[:, :, 1] += 1.5 * (label // 2)
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(batch)


def arrays(model):
    """The values of all variables by path."""
    return {v.path: np.copy(keras.ops.convert_to_numpy(v)) for v in model.variables}


class MadeData(DataSet):
    """What `keras_nas.data.load` gives: four classes, 8×8 pixels of two channels."""

    task = "classification"
    num_classes = 4
    image_shape = (8, 8, 2)
    structure = None

    def __init__(self):
        self.train = random_images()
        self.validation = random_images(16, seed=1)
        self.test = random_images(48, seed=2)

    def describe(self):
        return "quadrants: 64 of 64 training images"

    def builder_arguments(self):
        return {"input_shape": list(self.image_shape), "num_classes": self.num_classes}
