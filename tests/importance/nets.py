"""Small networks with the joins of the large ones."""

from __future__ import annotations

import keras
from keras import layers

import keras_nas as kn
from keras_nas.layers import ScaledSigmoidGate
from tests.random_models import randomize


def conv(x, filters, name, kernel=3, strides=1, relu=True):
    x = layers.Conv2D(filters, kernel, strides, padding="same", use_bias=False, name=name)(x)
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x


def finish(inputs, x, name):
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(3, name="logits")(x), name=name)


def resnet():
    """A stem of 6, a block of 6, a block of 8 with a projection."""
    inputs = keras.Input((8, 8, 3))
    x = conv(inputs, 6, "stem")
    y = conv(conv(x, 5, "a1"), 6, "a2", relu=False)
    x = layers.ReLU(name="a_relu")(layers.Add(name="a_add")([x, y]))
    y = conv(conv(x, 7, "b1", strides=2), 8, "b2", relu=False)
    short = conv(x, 8, "short", kernel=1, strides=2, relu=False)
    x = layers.ReLU(name="b_relu")(layers.Add(name="b_add")([short, y]))
    return finish(inputs, x, "resnet")


def mobilenet():
    """Two inverted residual blocks of 4 channels, 8 within, with squeeze and excitation."""
    inputs = keras.Input((8, 8, 3))
    x = conv(inputs, 4, "stem", relu=False)
    for name in ("a", "b"):
        y = conv(x, 8, f"{name}_expand", kernel=1)
        y = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"{name}_depth")(y)
        y = layers.BatchNormalization(name=f"{name}_depth_bn")(y)
        s = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_squeeze")(y)
        s = layers.Conv2D(2, 1, activation="relu", name=f"{name}_reduce")(s)
        s = layers.Conv2D(8, 1, activation="sigmoid", name=f"{name}_excite")(s)
        y = layers.Multiply(name=f"{name}_excited")([y, s])
        y = conv(y, 4, f"{name}_project", kernel=1, relu=False)
        x = layers.Add(name=f"{name}_add")([x, y])
    return finish(inputs, x, "mobilenet")


def densenet():
    """Three layers that normalise before they convolve, side by side."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", use_bias=False, name="stem")(inputs)
    for name in ("a", "b"):
        y = layers.BatchNormalization(name=f"{name}_bn")(x)
        y = layers.ReLU(name=f"{name}_relu")(y)
        y = layers.Conv2D(3, 3, padding="same", use_bias=False, name=name)(y)
        x = layers.Concatenate(name=f"{name}_join")([x, y])
    x = layers.BatchNormalization(name="last_bn")(x)
    return finish(inputs, x, "densenet")


def gated(model, seed=0, gate=ScaledSigmoidGate, **options):
    """The model with random weights and with gates that are off."""
    randomize(model, seed)
    return kn.gates.insert(model, gate, **options)


NETS = {"resnet": resnet, "mobilenet": mobilenet, "densenet": densenet}
