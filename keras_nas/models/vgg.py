"""VGG with BatchNormalization: for CIFAR, for ImageNet, and a small one for the demos."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from keras_nas.models.conv_block import (
    BN_EPSILON,
    BN_MOMENTUM,
    apply_classifier,
    apply_conv_bn_block,
)
from keras_nas.models.registry import register, register_variant
from keras_nas.models.widths import resolve_widths

VGG16_WIDTHS = [[64] * 2, [128] * 2, [256] * 3, [512] * 3, [512] * 3]
VGG19_WIDTHS = [[64] * 2, [128] * 2, [256] * 4, [512] * 4, [512] * 4]
SMALL_VGG_WIDTHS = [[32, 32], [64, 64], [128, 128]]


@register
def vgg16(
    input_shape: Sequence[int] = (224, 224, 3),
    num_classes: int = 1000,
    widths: Sequence[Sequence[int]] | None = None,
    hidden_widths: Sequence[int] | None = None,
    dropout: float = 0.5,
    classifier_activation: str | None = None,
    name: str = "vgg16",
) -> keras.Model:
    """VGG16 with BatchNormalization for ImageNet: 15.47 G macs, 138.36 M params.

    Args:
        input_shape: `(height, width, channels)`, at least 32 × 32.
        num_classes: Number of outputs.
        widths: Channels of each convolution, by stage; five lists of 2, 2, 3, 3, 3.
        hidden_widths: Units of the two hidden Dense layers; 4096 each by default.
        dropout: Rate after each hidden Dense layer.
        classifier_activation: For instance "softmax"; None gives logits.
        name: Of the model.
    """
    widths = resolve_widths(widths, VGG16_WIDTHS, "widths")
    hidden_widths = resolve_widths(hidden_widths, [4096, 4096], "hidden_widths")
    inputs = keras.Input(tuple(input_shape), name="image")
    x = inputs
    for stage, stage_widths in enumerate(widths, start=1):
        x = apply_vgg_stage(x, stage_widths, name=f"stage{stage}")
        x = layers.MaxPooling2D(name=f"stage{stage}_pool")(x)
    x = layers.Flatten(name="flatten")(x)
    for index, units in enumerate(hidden_widths, start=1):
        x = layers.Dense(units, kernel_initializer="he_normal", name=f"hidden{index}_dense")(x)
        x = layers.ReLU(name=f"hidden{index}_relu")(x)
        x = layers.Dropout(dropout, name=f"hidden{index}_dropout")(x)
    outputs = apply_classifier(x, num_classes, classifier_activation)
    return keras.Model(inputs, outputs, name=name)


def apply_vgg_stage(x: keras.KerasTensor, widths: Sequence[int], *, name: str) -> keras.KerasTensor:
    """3×3 Conv-BN-ReLU blocks in a row, `{name}_block1` and on, one for each of `widths`."""
    for index, width in enumerate(widths, start=1):
        x = apply_conv_bn_block(x, width, name=f"{name}_block{index}")
    return x


def _vgg_cifar(
    input_shape: Sequence[int] = (32, 32, 3),
    num_classes: int = 10,
    widths: Sequence[Sequence[int]] | None = None,
    hidden_width: int = 512,
    classifier_activation: str | None = None,
    name: str = "vgg_cifar",
    *,
    own_widths: Sequence[Sequence[int]] = VGG16_WIDTHS,
) -> keras.Model:
    """A VGG with one hidden Dense layer.

    3×3 convolutions, a maximum pooling between the stages, global average pooling,
    Dense(hidden_width)-BN-ReLU, Dense(classes).

    Args:
        input_shape: `(height, width, channels)`, at least 16 × 16 where the stages are five.
        num_classes: Number of outputs.
        widths: Channels of each convolution, by stage; five lists of 2, 2, 3, 3, 3 (VGG16) or of
            2, 2, 4, 4, 4 (VGG19), three lists of 2 (the small one).
        hidden_width: Units of the hidden Dense layer.
        classifier_activation: For instance "softmax"; None gives logits.
        name: Of the model.

    Raises:
        KerasNasError: If `widths` does not fit.
    """
    widths = resolve_widths(widths, own_widths, "widths")
    inputs = keras.Input(tuple(input_shape), name="image")
    x = inputs
    for stage, stage_widths in enumerate(widths, start=1):
        x = apply_vgg_stage(x, stage_widths, name=f"stage{stage}")
        if stage < len(widths):
            x = layers.MaxPooling2D(name=f"stage{stage}_pool")(x)
    x = layers.GlobalAveragePooling2D(name="head_pool")(x)
    x = layers.Dense(
        hidden_width, use_bias=False, kernel_initializer="he_normal", name="hidden_dense"
    )(x)
    x = layers.BatchNormalization(momentum=BN_MOMENTUM, epsilon=BN_EPSILON, name="hidden_bn")(x)
    x = layers.ReLU(name="hidden_relu")(x)
    outputs = apply_classifier(x, num_classes, classifier_activation)
    return keras.Model(inputs, outputs, name=name)


vgg16_cifar = register_variant(
    "vgg16_cifar",
    _vgg_cifar,
    """VGG16's CIFAR variant of DNAL and FGNAS, 13 convolutions: 313.46 M macs, 14.99 M params.

    The printed 313.47 M counts the multiply-adds of the convolutions and Dense layers, without
    biases, BatchNormalization and pooling.
    """,
    own_widths=VGG16_WIDTHS,
)
vgg19_cifar = register_variant(
    "vgg19_cifar",
    _vgg_cifar,
    "VGG19's CIFAR variant: 398.40 M macs; FGNAS prints 797 M flops.",
    own_widths=VGG19_WIDTHS,
)
small_vgg = register_variant(
    "small_vgg",
    _vgg_cifar,
    "A VGG-like net of six convolutions for small grey images.",
    own_widths=SMALL_VGG_WIDTHS,
    input_shape=(28, 28, 1),
    hidden_width=128,
)
