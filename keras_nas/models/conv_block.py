"""What all backbones are made of: Conv-BN-activation, the classifier, named operations."""

from __future__ import annotations

import keras
from keras import layers

BN_MOMENTUM = 0.9
BN_EPSILON = 1e-5


def apply_activation(x: keras.KerasTensor, activation: str, name: str) -> keras.KerasTensor:
    """A layer for `activation`: "relu", "relu6", or any name that `keras.activations` knows."""
    if activation == "relu":
        return layers.ReLU(name=name)(x)
    if activation == "relu6":
        return layers.ReLU(6.0, name=name)(x)
    return layers.Activation(activation, name=name)(x)


def apply_conv(
    x: keras.KerasTensor,
    filters: int,
    kernel_size: int,
    strides: int = 1,
    dilation: int = 1,
    *,
    name: str,
) -> keras.KerasTensor:
    """Conv2D without bias, padding "same"; arguments as in `apply_conv_bn_block`."""
    return layers.Conv2D(
        filters,
        kernel_size,
        strides,
        padding="same",
        dilation_rate=dilation,
        use_bias=False,
        kernel_initializer="he_normal",
        name=name,
    )(x)


def apply_conv_bn_block(
    x: keras.KerasTensor,
    filters: int,
    kernel_size: int = 3,
    strides: int = 1,
    *,
    dilation: int = 1,
    activation: str | None = "relu",
    name: str,
) -> keras.KerasTensor:
    """Conv2D without bias, BatchNormalization, activation: `{name}_conv`, `_bn`, `_{activation}`.

    Args:
        x: `(batch, height, width, channels)`.
        filters: Number of output channels.
        kernel_size, strides, dilation: Of the convolution; its padding is "same".
        activation: As in `apply_activation`; None for none.
        name: Prefix of the layers' names.
    """
    x = apply_conv(x, filters, kernel_size, strides, dilation, name=f"{name}_conv")
    return _finish(x, activation, name)


def apply_depthwise_bn_block(
    x: keras.KerasTensor,
    kernel_size: int = 3,
    strides: int = 1,
    *,
    dilation: int = 1,
    activation: str | None = "relu",
    name: str,
) -> keras.KerasTensor:
    """DepthwiseConv2D without bias, BatchNormalization, activation, named as in the block above."""
    x = layers.DepthwiseConv2D(
        kernel_size,
        strides,
        padding="same",
        dilation_rate=dilation,
        use_bias=False,
        depthwise_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    return _finish(x, activation, name)


def _finish(x, activation, name):
    x = layers.BatchNormalization(momentum=BN_MOMENTUM, epsilon=BN_EPSILON, name=f"{name}_bn")(x)
    return x if activation is None else apply_activation(x, activation, f"{name}_{activation}")


def apply_classifier(
    x: keras.KerasTensor, num_classes: int, activation: str | None = None
) -> keras.KerasTensor:
    """The last Dense layer, `logits`, and `predictions` where an activation is asked for.

    Under a half-precision policy both compute in float32, so that the loss does.

    Args:
        x: `(batch, features)`.
        num_classes: Number of outputs.
        activation: For instance "softmax"; None gives logits.
    """
    half = keras.config.dtype_policy().compute_dtype in ("float16", "bfloat16")
    dtype = "float32" if half else None
    x = layers.Dense(num_classes, dtype=dtype, name="logits")(x)
    if activation is not None:
        x = layers.Activation(activation, dtype=dtype, name="predictions")(x)
    return x


def name_operation(tensor: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Names the op that made `tensor`, and returns `tensor`.

    `keras.ops` takes no names: it counts (`pad`, `pad_1`, ...) through the whole process, so that
    two builds of one backbone would differ.
    """
    tensor._keras_history.operation.name = name
    return tensor
