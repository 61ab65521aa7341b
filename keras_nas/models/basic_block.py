"""The residual block of two 3×3 convolutions."""

from __future__ import annotations

import keras
from keras import layers, ops

from keras_nas.models.conv_block import apply_conv_bn_block, name_operation


def apply_basic_block(
    x: keras.KerasTensor,
    inner_width: int,
    width: int,
    strides: int = 1,
    *,
    shortcut: str = "projection",
    name: str,
) -> keras.KerasTensor:
    """relu(shortcut(x) + BN(conv(relu(BN(conv(x)))))).

    Args:
        x: `(batch, height, width, channels)`.
        inner_width: Channels between the two convolutions.
        width: Channels of the block's output.
        strides: Of the first convolution and of the shortcut.
        shortcut: How the shortcut changes its shape, where it must: "projection" (a 1×1 Conv-BN) or
            "pad" (He et al.'s option A: every second pixel, zero channels appended; no parameters).
        name: Prefix of the layers' names.
    """
    residual = apply_conv_bn_block(x, inner_width, strides=strides, name=f"{name}_1")
    residual = apply_conv_bn_block(residual, width, activation=None, name=f"{name}_2")
    if shortcut == "pad":
        x = _apply_padded_shortcut(x, width, strides, name)
    elif strides != 1 or x.shape[-1] != width:
        x = apply_conv_bn_block(x, width, 1, strides, activation=None, name=f"{name}_shortcut")
    x = layers.Add(name=f"{name}_add")([x, residual])
    return layers.ReLU(name=f"{name}_relu")(x)


def _apply_padded_shortcut(x, width, strides, name):
    if strides != 1:
        x = layers.MaxPooling2D(1, strides, name=f"{name}_shortcut_pick")(x)
    extra = width - x.shape[-1]
    if extra:
        x = ops.pad(x, [[0, 0], [0, 0], [0, 0], [0, extra]])
        x = name_operation(x, f"{name}_shortcut_pad")
    return x
