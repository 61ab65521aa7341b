"""A small trained classifier of real images, shared by the export tests.

Trained, because a random network's outputs hardly depend on its input: any two runtimes agree.
"""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

from export.tflite import convert


@dataclasses.dataclass(frozen=True)
class Images:
    """scikit-learn's handwritten digits as RGB floats in [0, 1], (n, 16, 16, 3), with labels."""

    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray


@pytest.fixture(scope="session")
def images():
    digits = load_digits()
    x = (digits.images / 16.0).astype("float32").repeat(2, axis=1).repeat(2, axis=2)[..., None]
    x = np.concatenate([x, 1.0 - x, x * 0.5], axis=-1).astype("float32")
    y = digits.target.astype("int32")
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[:1400], order[1400:]
    return Images(x[train], y[train], x[test], y[test])


def build_classifier():
    layers = keras.layers
    inputs = keras.Input((16, 16, 3), name="image")
    x = layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False, name="stem")(inputs)
    x = layers.BatchNormalization(momentum=0.9, name="stem_bn")(x)
    x = skip = layers.ReLU(name="stem_relu")(x)
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
    x = layers.BatchNormalization(momentum=0.9, name="depthwise_bn")(x)
    x = layers.ReLU(max_value=6.0, name="depthwise_relu")(x)
    x = layers.Conv2D(16, 1, name="project")(x)
    x = layers.Add(name="add")([skip, x])
    x = layers.Concatenate(name="concat")(
        [layers.MaxPooling2D(2, name="max_pool")(x), layers.AveragePooling2D(2, name="pool")(x)]
    )
    x = layers.Conv2D(32, 3, padding="same", activation="relu", name="head")(x)
    x = layers.GlobalAveragePooling2D(name="global_pool")(x)
    x = layers.Dropout(0.1, name="dropout")(x)
    outputs = layers.Dense(10, activation="softmax", name="digit")(x)
    return keras.Model(inputs, outputs, name="digits")


@pytest.fixture(scope="session")
def classifier(images):
    """Trained for some seconds to more than 90 % on held-out images."""
    keras.utils.set_random_seed(0)
    model = build_classifier()
    model.compile(
        keras.optimizers.Adam(4e-3), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    model.fit(images.train_x, images.train_y, epochs=8, batch_size=64, verbose=0)
    return model


@pytest.fixture(scope="session")
def accuracy():
    """The share of right answers, as `metric(targets, outputs)`."""
    return lambda targets, outputs: float(np.mean(np.argmax(outputs, -1) == targets))


@pytest.fixture(scope="session")
def float_file(classifier, tmp_path_factory):
    """The classifier as a float32 .tflite."""
    path = tmp_path_factory.mktemp("float") / "digits.tflite"
    return convert(classifier, path).path


@pytest.fixture(scope="session")
def uint8_file(classifier, images, tmp_path_factory):
    """The classifier as a full-int8 .tflite with uint8 inputs and outputs."""
    path = tmp_path_factory.mktemp("uint8") / "digits_uint8.tflite"
    return convert(
        classifier, path, "int8", representative_data=images.train_x, io_dtype="uint8"
    ).path
