"""EfficientNet-B0."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from keras_nas.models.conv_block import (
    apply_classifier,
    apply_conv_bn_block,
    apply_depthwise_bn_block,
)
from keras_nas.models.registry import register
from keras_nas.models.widths import resolve_widths

STEM_WIDTH = 32
BLOCK_WIDTHS = [16] + [24] * 2 + [40] * 2 + [80] * 3 + [112] * 3 + [192] * 4 + [320]
INPUT_WIDTHS = [STEM_WIDTH, *BLOCK_WIDTHS[:-1]]
EXPANDED_WIDTHS = [
    width * factor for width, factor in zip(INPUT_WIDTHS, [1] + [6] * 15, strict=True)
]
SQUEEZED_WIDTHS = [width // 4 for width in INPUT_WIDTHS]
KERNEL_SIZES = [3] + [3] * 2 + [5] * 2 + [3] * 3 + [5] * 3 + [5] * 4 + [3]
STRIDED_BLOCKS = {1: 2, 3: 2, 5: 2, 11: 2}


@register
def efficientnet_b0(
    input_shape: Sequence[int] = (224, 224, 3),
    num_classes: int = 1000,
    stem_width: int = STEM_WIDTH,
    expanded_widths: Sequence[int] | None = None,
    squeezed_widths: Sequence[int] | None = None,
    block_widths: Sequence[int] | None = None,
    kernel_sizes: Sequence[int] | None = None,
    head_width: int = 1280,
    drop_connect: float = 0.2,
    dropout: float = 0.2,
    classifier_activation: str | None = None,
    name: str = "efficientnet_b0",
) -> keras.Model:
    """EfficientNet-B0: 5.29 M params for 1000 classes, 4.01 M (FGNAS prints 4.0 M) for 10.

    FGNAS carries the ImageNet architecture over to CIFAR-10: enlarge the images to `input_shape`,
    or give `input_shape=(32, 32, 3)`; the parameters are the same.

    Args:
        input_shape: `(height, width, channels)`.
        num_classes: Number of outputs.
        stem_width: Channels of the stem.
        expanded_widths: Channels of each block's depthwise convolution, 16 values. A block as wide
            as its input has no expansion.
        squeezed_widths: Channels inside each block's squeeze-and-excitation, 16 values.
        block_widths: Channels of each block's output, 16 values.
        kernel_sizes: Of each block's depthwise convolution, 16 values.
        head_width: Channels of the last 1×1 convolution.
        drop_connect: Rate, at the last block, at which training drops a whole branch (stochastic
            depth); it grows linearly from 0 at the first block.
        dropout: Rate before the classifier.
        classifier_activation: For instance "softmax"; None gives logits.
        name: Of the model.

    References:
        Tan and Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks (2019).
    """
    expanded = resolve_widths(expanded_widths, EXPANDED_WIDTHS, "expanded_widths")
    squeezed = resolve_widths(squeezed_widths, SQUEEZED_WIDTHS, "squeezed_widths")
    widths = resolve_widths(block_widths, BLOCK_WIDTHS, "block_widths")
    kernels = resolve_widths(kernel_sizes, KERNEL_SIZES, "kernel_sizes")
    inputs = keras.Input(tuple(input_shape), name="image")
    x = apply_conv_bn_block(inputs, stem_width, 3, 2, activation="silu", name="stem")
    for index, width in enumerate(widths):
        x = apply_mbconv_block(
            x, expanded[index], squeezed[index], width, kernels[index],
            strides=STRIDED_BLOCKS.get(index, 1),
            drop_connect=drop_connect * index / len(widths),
            name=f"block{index + 1}",
        )  # fmt: skip
    x = apply_conv_bn_block(x, head_width, 1, activation="silu", name="head")
    x = layers.GlobalAveragePooling2D(name="head_pool")(x)
    if dropout:
        x = layers.Dropout(dropout, name="head_dropout")(x)
    return keras.Model(inputs, apply_classifier(x, num_classes, classifier_activation), name=name)


def apply_mbconv_block(
    x: keras.KerasTensor,
    expanded_width: int,
    squeezed_width: int,
    width: int,
    kernel_size: int,
    *,
    strides: int = 1,
    drop_connect: float = 0.0,
    name: str,
) -> keras.KerasTensor:
    """Expansion, depthwise convolution, squeeze-and-excitation, projection, shortcut where it fits.

    Args:
        x: `(batch, height, width, channels)`.
        expanded_width: Channels of the depthwise convolution.
        squeezed_width: Channels inside the squeeze-and-excitation.
        width: Channels of the block's output.
        kernel_size, strides: Of the depthwise convolution.
        drop_connect: Rate at which training drops the branch of an image.
        name: Prefix of the layers' names.
    """
    shortcut = x
    if expanded_width != x.shape[-1]:
        x = apply_conv_bn_block(x, expanded_width, 1, activation="silu", name=f"{name}_expand")
    x = apply_depthwise_bn_block(
        x, kernel_size, strides, activation="silu", name=f"{name}_depthwise"
    )
    x = apply_squeeze_excite_block(x, squeezed_width, name=f"{name}_squeeze_excite")
    x = apply_conv_bn_block(x, width, 1, activation=None, name=f"{name}_project")
    if strides != 1 or shortcut.shape[-1] != width:
        return x
    if drop_connect:
        x = layers.Dropout(drop_connect, noise_shape=(None, 1, 1, 1), name=f"{name}_drop")(x)
    return layers.Add(name=f"{name}_add")([shortcut, x])


def apply_squeeze_excite_block(
    x: keras.KerasTensor, squeezed_width: int, *, name: str
) -> keras.KerasTensor:
    """x times sigmoid(conv(silu(conv(mean of x over the image)))), channel by channel."""
    channels = x.shape[-1]
    scale = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool")(x)
    scale = layers.Conv2D(
        squeezed_width, 1, kernel_initializer="he_normal", name=f"{name}_reduce_conv"
    )(scale)
    scale = layers.Activation("silu", name=f"{name}_silu")(scale)
    scale = layers.Conv2D(channels, 1, kernel_initializer="he_normal", name=f"{name}_expand_conv")(
        scale
    )
    scale = layers.Activation("sigmoid", name=f"{name}_sigmoid")(scale)
    return layers.Multiply(name=f"{name}_multiply")([x, scale])
