"""The operations of DSO's normal search space, each with BatchNormalization and ReLU."""

from __future__ import annotations

import keras
from keras import layers

from keras_nas.models.conv_block import BN_EPSILON, BN_MOMENTUM, apply_conv

OPERATIONS = ("sep3", "sep5", "avg3", "max3", "sep7")
"""Separable convolutions and poolings, by kind and kernel size."""


def apply_operation(
    x: keras.KerasTensor,
    operation: str,
    *,
    dilation: int = 1,
    scale: bool = True,
    name: str,
) -> keras.KerasTensor:
    """One operation, of stride 1 and as wide as its input, then BatchNormalization and ReLU.

    A separable convolution is a depthwise one and a 1×1 one with no normalisation between them.

    Args:
        x: `(batch, height, width, channels)`.
        operation: One of `OPERATIONS`.
        dilation: Of the depthwise convolution; poolings have none.
        scale: Whether BatchNormalization has a scale; false while a search learns edges.
        name: Prefix of the layers' names.
    """
    kind, size = operation[:-1], int(operation[-1])
    if kind == "avg":
        x = layers.AveragePooling2D(size, strides=1, padding="same", name=f"{name}_pool")(x)
    elif kind == "max":
        x = layers.MaxPooling2D(size, strides=1, padding="same", name=f"{name}_pool")(x)
    else:
        width = x.shape[-1]
        x = layers.DepthwiseConv2D(
            size,
            dilation_rate=dilation,
            padding="same",
            use_bias=False,
            depthwise_initializer="he_normal",
            name=f"{name}_depthwise",
        )(x)
        x = apply_conv(x, width, 1, name=f"{name}_conv")
    return _norm_relu(x, scale, name)


def apply_scaled_conv(
    x: keras.KerasTensor,
    filters: int,
    kernel_size: int,
    strides: int = 1,
    *,
    scale: bool = True,
    name: str,
) -> keras.KerasTensor:
    """Conv2D without bias, BatchNormalization with or without its scale, ReLU.

    Args:
        x: `(batch, height, width, channels)`.
        filters: Number of output channels.
        kernel_size, strides: Of the convolution; its padding is "same".
        scale: As in `apply_operation`.
        name: Prefix of the layers' names.
    """
    x = apply_conv(x, filters, kernel_size, strides, name=f"{name}_conv")
    return _norm_relu(x, scale, name)


def _norm_relu(x, scale, name):
    x = layers.BatchNormalization(
        momentum=BN_MOMENTUM, epsilon=BN_EPSILON, scale=scale, name=f"{name}_bn"
    )(x)
    return layers.ReLU(name=f"{name}_relu")(x)
