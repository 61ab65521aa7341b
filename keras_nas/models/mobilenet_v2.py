"""MobileNetV2 for ImageNet and for CIFAR."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from keras_nas.models.conv_block import (
    apply_classifier,
    apply_conv_bn_block,
    apply_depthwise_bn_block,
)
from keras_nas.models.registry import register_variant
from keras_nas.models.widths import resolve_widths

STEM_WIDTH = 32
BLOCK_WIDTHS = [16] + [24] * 2 + [32] * 3 + [64] * 4 + [96] * 3 + [160] * 3 + [320]
EXPANDED_WIDTHS = [
    width * factor
    for width, factor in zip([STEM_WIDTH, *BLOCK_WIDTHS[:-1]], [1] + [6] * 16, strict=True)
]
STRIDED_BLOCKS = {1: 2, 3: 2, 6: 2, 13: 2}
CIFAR_STRIDED_BLOCKS = {3: 2, 6: 2, 13: 2}


def _mobilenet_v2(
    input_shape: Sequence[int] = (224, 224, 3),
    num_classes: int = 1000,
    stem_width: int = STEM_WIDTH,
    expanded_widths: Sequence[int] | None = None,
    block_widths: Sequence[int] | None = None,
    kernel_sizes: Sequence[int] | None = None,
    head_width: int = 1280,
    dropout: float = 0.2,
    classifier_activation: str | None = None,
    name: str = "mobilenet_v2",
    *,
    small_images: bool = False,
) -> keras.Model:
    """MobileNetV2.

    Args:
        input_shape: `(height, width, channels)`.
        num_classes: Number of outputs.
        stem_width: Channels of the stem.
        expanded_widths: Channels of each block's depthwise convolution, 17 values. For ImageNet a
            first block as wide as its input has no expansion.
        block_widths: Channels of each block's output, 17 values.
        kernel_sizes: Of each block's depthwise convolution, 17 values; 3 by default.
        head_width: Channels of the last 1×1 convolution.
        dropout: Rate before the classifier (DNAL trains with 0).
        classifier_activation: For instance "softmax"; None gives logits.
        name: Of the model.

    Raises:
        KerasNasError: If widths or kernel sizes do not fit.

    References:
        Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks (2018).
    """
    activation = "relu" if small_images else "relu6"
    stem_strides = 1 if small_images else 2
    strided = CIFAR_STRIDED_BLOCKS if small_images else STRIDED_BLOCKS
    inputs = keras.Input(tuple(input_shape), name="image")
    x = apply_conv_bn_block(inputs, stem_width, 3, stem_strides, activation=activation, name="stem")
    for settings in _blocks(expanded_widths, block_widths, kernel_sizes, strided):
        x = apply_inverted_residual_block(
            x,
            **settings,
            activation=activation,
            always_expand=small_images,
            project_shortcut=small_images,
        )
    x = apply_conv_bn_block(x, head_width, 1, activation=activation, name="head")
    x = layers.GlobalAveragePooling2D(name="head_pool")(x)
    if dropout:
        x = layers.Dropout(dropout, name="head_dropout")(x)
    return keras.Model(inputs, apply_classifier(x, num_classes, classifier_activation), name=name)


mobilenet_v2 = register_variant(
    "mobilenet_v2",
    _mobilenet_v2,
    """MobileNetV2 for ImageNet: 300.77 M macs, 3.50 M params.

    DNAL's 300.79 M and FGNAS's 600 M flops count the multiply-adds of the convolutions and the
    Dense layer.
    """,
)
mobilenet_v2_cifar = register_variant(
    "mobilenet_v2_cifar",
    _mobilenet_v2,
    """MobileNetV2 for CIFAR: 91.15 M macs, 2.30 M params.

    Stem and second stage have stride 1. DNAL's 91.17 M macs and 2.30 M params are those of the
    widely used CIFAR variant in which every block expands (the first by 1), every block of stride 1
    has a shortcut (a 1×1 Conv-BN where the widths differ), and ReLU stands for ReLU6; without these
    convolutions it would be 87.98 M and 2.24 M.
    """,
    small_images=True,
    input_shape=(32, 32, 3),
    num_classes=10,
    dropout=0.0,
)


def apply_inverted_residual_block(
    x: keras.KerasTensor,
    expanded_width: int,
    width: int,
    kernel_size: int = 3,
    strides: int = 1,
    *,
    dilation: int = 1,
    activation: str = "relu6",
    always_expand: bool = False,
    project_shortcut: bool = False,
    name: str,
) -> keras.KerasTensor:
    """1×1 expansion, depthwise convolution, linear 1×1 projection, and the shortcut where it fits.

    Args:
        x: `(batch, height, width, channels)`.
        expanded_width: Channels of the depthwise convolution.
        width: Channels of the block's output.
        kernel_size, strides, dilation: Of the depthwise convolution.
        activation: After the expansion and the depthwise convolution.
        always_expand: Expand even where `expanded_width` is the input's own width.
        project_shortcut: At stride 1, give a block whose width changes a 1×1 Conv-BN shortcut.
        name: Prefix of the layers' names.
    """
    shortcut = x
    if always_expand or expanded_width != x.shape[-1]:
        x = apply_conv_bn_block(x, expanded_width, 1, activation=activation, name=f"{name}_expand")
    x = apply_depthwise_bn_block(
        x,
        kernel_size,
        strides,
        dilation=dilation,
        activation=activation,
        name=f"{name}_depthwise",
    )
    x = apply_conv_bn_block(x, width, 1, activation=None, name=f"{name}_project")
    if strides != 1:
        return x
    if shortcut.shape[-1] != width:
        if not project_shortcut:
            return x
        shortcut = apply_conv_bn_block(shortcut, width, 1, activation=None, name=f"{name}_shortcut")
    return layers.Add(name=f"{name}_add")([shortcut, x])


def _blocks(expanded_widths, block_widths, kernel_sizes, strided):
    expanded = resolve_widths(expanded_widths, EXPANDED_WIDTHS, "expanded_widths")
    widths = resolve_widths(block_widths, BLOCK_WIDTHS, "block_widths")
    kernels = resolve_widths(kernel_sizes, [3] * len(widths), "kernel_sizes")
    return [
        {
            "expanded_width": expanded[index],
            "width": widths[index],
            "kernel_size": kernels[index],
            "strides": strided.get(index, 1),
            "name": f"block{index + 1}",
        }
        for index in range(len(widths))
    ]
