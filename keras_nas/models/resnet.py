"""ResNet-18 and ResNet-50, those of depth 6n + 2 for CIFAR, and a small one for the demos."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers, ops

from keras_nas.errors import UsageError
from keras_nas.models.conv_block import apply_classifier, apply_conv_bn_block, name_operation
from keras_nas.models.registry import register, register_variant
from keras_nas.models.widths import resolve_widths

RESNET18_BLOCKS = [2, 2, 2, 2]
RESNET50_BLOCKS = [3, 4, 6, 3]
BASIC_STAGE_WIDTHS = [64, 128, 256, 512]
BOTTLENECK_STAGE_WIDTHS = [256, 512, 1024, 2048]
CIFAR_STAGE_WIDTHS = [16, 32, 64]
SHORTCUTS = ("pad", "projection")


def _resnet18(
    input_shape: Sequence[int] = (224, 224, 3),
    num_classes: int = 1000,
    stem_width: int = 64,
    stage_widths: Sequence[int] | None = None,
    inner_widths: Sequence[Sequence[int]] | None = None,
    classifier_activation: str | None = None,
    name: str = "resnet18",
    *,
    small_images: bool = False,
) -> keras.Model:
    """ResNet-18.

    Args:
        input_shape: `(height, width, channels)`.
        num_classes: Number of outputs.
        stem_width: Channels of the stem.
        stage_widths: Channels of the residual stream in each of the four stages.
        inner_widths: Channels between the two convolutions of each block, by stage; four lists of
            two, the stage's width by default.
        classifier_activation: For instance "softmax"; None gives logits.
        name: Of the model.

    Raises:
        KerasNasError: If a width does not fit.
    """
    inputs = keras.Input(tuple(input_shape), name="image")
    if small_images:
        x = apply_conv_bn_block(inputs, stem_width, name="stem")
    else:
        x = _apply_imagenet_stem(inputs, stem_width)
    stage_widths = resolve_widths(stage_widths, BASIC_STAGE_WIDTHS, "stage_widths")
    x = _basic_stages(x, stage_widths, inner_widths, RESNET18_BLOCKS)
    return _finish(inputs, x, num_classes, classifier_activation, name)


resnet18 = register_variant(
    "resnet18",
    _resnet18,
    "ResNet-18 for ImageNet (7×7 stem of stride 2, pooling): 1.81 G macs, 11.69 M params.",
)
resnet18_cifar = register_variant(
    "resnet18_cifar",
    _resnet18,
    "ResNet-18 with a 3×3 stem of stride 1 and no pooling: 555.42 M macs, 11.17 M params.",
    small_images=True,
    input_shape=(32, 32, 3),
    num_classes=10,
)


@register
def resnet50(
    input_shape: Sequence[int] = (224, 224, 3),
    num_classes: int = 1000,
    stem_width: int = 64,
    stage_widths: Sequence[int] | None = None,
    inner_widths: Sequence[Sequence[Sequence[int]]] | None = None,
    classifier_activation: str | None = None,
    name: str = "resnet50",
) -> keras.Model:
    """ResNet-50 for ImageNet: 4.09 G macs, 25.56 M params.

    The stride sits in the 3×3 convolution of a bottleneck (in the first 1×1, as first published,
    the macs are 3.86 G): so DNAL's 4.09 G, multiply-adds of convolutions and Dense, is reached.

    Args:
        input_shape: `(height, width, channels)`.
        num_classes: Number of outputs.
        stem_width: Channels of the stem.
        stage_widths: Channels of the residual stream in each of the four stages.
        inner_widths: For each block, by stage, the channels of its first two convolutions: four
            lists of 3, 4, 6, 3 pairs.
        classifier_activation: For instance "softmax"; None gives logits.
        name: Of the model.
    """
    stage_widths = resolve_widths(stage_widths, BOTTLENECK_STAGE_WIDTHS, "stage_widths")
    own_widths = [
        [[width // 4, width // 4]] * blocks
        for width, blocks in zip(BOTTLENECK_STAGE_WIDTHS, RESNET50_BLOCKS, strict=True)
    ]
    inner_widths = resolve_widths(inner_widths, own_widths, "inner_widths")
    inputs = keras.Input(tuple(input_shape), name="image")
    x = _apply_imagenet_stem(inputs, stem_width)
    for stage, (width, pairs) in enumerate(zip(stage_widths, inner_widths, strict=True), start=1):
        for block, pair in enumerate(pairs, start=1):
            strides = 2 if stage > 1 and block == 1 else 1
            x = apply_bottleneck_block(x, pair, width, strides, name=f"stage{stage}_block{block}")
    return _finish(inputs, x, num_classes, classifier_activation, name)


def _resnet_cifar(
    input_shape: Sequence[int] = (32, 32, 3),
    num_classes: int = 10,
    stage_widths: Sequence[int] | None = None,
    inner_widths: Sequence[Sequence[int]] | None = None,
    shortcut: str = "pad",
    classifier_activation: str | None = None,
    name: str = "resnet_cifar",
    *,
    blocks: int = 9,
) -> keras.Model:
    """A ResNet of three stages of `blocks` blocks.

    Args:
        input_shape: `(height, width, channels)`.
        num_classes: Number of outputs.
        stage_widths: Channels of the residual stream in each of the three stages; the stem has the
            first stage's. [16, 32, 64] by default.
        inner_widths: Channels between the two convolutions of each block, by stage; three lists of
            one value a block (9 blocks a stage in ResNet-56, 3 in ResNet-20, 2 in the small one),
            the stage's width by default.
        shortcut: "pad" (no parameters, as printed) or "projection", between stages. With "pad" the
            stages' widths must not fall.
        classifier_activation: For instance "softmax"; None gives logits.
        name: Of the model.

    Raises:
        KerasNasError: If a width or `shortcut` does not fit.

    References:
        He et al., Deep Residual Learning for Image Recognition (2015), section 4.2.
    """
    if shortcut not in SHORTCUTS:
        raise UsageError(f"`shortcut` must be one of {SHORTCUTS}. Received: {shortcut!r}")
    stage_widths = resolve_widths(stage_widths, CIFAR_STAGE_WIDTHS, "stage_widths")
    if shortcut == "pad" and list(stage_widths) != sorted(stage_widths):
        raise UsageError(
            "`stage_widths` must not fall where `shortcut` is 'pad', which can only add channels. "
            f"Received: stage_widths={stage_widths}"
        )
    inputs = keras.Input(tuple(input_shape), name="image")
    x = apply_conv_bn_block(inputs, stage_widths[0], name="stem")
    x = _basic_stages(x, stage_widths, inner_widths, [blocks] * 3, shortcut)
    return _finish(inputs, x, num_classes, classifier_activation, name)


resnet56_cifar = register_variant(
    "resnet56_cifar",
    _resnet_cifar,
    "ResNet-56 for CIFAR: 125.49 M macs (convolutions and Dense, no biases), 0.85 M params.",
    blocks=9,
)
resnet20_cifar = register_variant(
    "resnet20_cifar",
    _resnet_cifar,
    "ResNet-20 for CIFAR, three blocks a stage: 40.55 M macs; FGNAS prints 81 M flops.",
    blocks=3,
)
small_resnet = register_variant(
    "small_resnet",
    _resnet_cifar,
    "A ResNet of two blocks a stage for small grey images (28 × 28).",
    blocks=2,
    input_shape=(28, 28, 1),
    shortcut="projection",
)


def apply_bottleneck_block(
    x: keras.KerasTensor, inner_widths: Sequence[int], width: int, strides: int = 1, *, name: str
) -> keras.KerasTensor:
    """relu(shortcut(x) + the branch of a 1×1, a 3×3 (with the stride) and a 1×1 convolution).

    Args:
        x: `(batch, height, width, channels)`.
        inner_widths: Channels of the first two convolutions.
        width: Channels of the block's output.
        strides: Of the 3×3 convolution and of the shortcut, a 1×1 Conv-BN where shapes differ.
        name: Prefix of the layers' names.
    """
    first, second = inner_widths
    residual = apply_conv_bn_block(x, first, 1, name=f"{name}_1")
    residual = apply_conv_bn_block(residual, second, 3, strides, name=f"{name}_2")
    residual = apply_conv_bn_block(residual, width, 1, activation=None, name=f"{name}_3")
    if strides != 1 or x.shape[-1] != width:
        x = apply_conv_bn_block(x, width, 1, strides, activation=None, name=f"{name}_shortcut")
    x = layers.Add(name=f"{name}_add")([x, residual])
    return layers.ReLU(name=f"{name}_relu")(x)


def _apply_imagenet_stem(x, width):
    x = apply_conv_bn_block(x, width, 7, 2, name="stem")
    return layers.MaxPooling2D(3, 2, padding="same", name="stem_pool")(x)


def _basic_stages(x, stage_widths, inner_widths, blocks, shortcut="projection"):
    own_widths = [[width] * count for width, count in zip(stage_widths, blocks, strict=True)]
    inner_widths = resolve_widths(inner_widths, own_widths, "inner_widths")
    for stage, (width, widths) in enumerate(zip(stage_widths, inner_widths, strict=True), start=1):
        for block, inner_width in enumerate(widths, start=1):
            strides = 2 if stage > 1 and block == 1 else 1
            name = f"stage{stage}_block{block}"
            x = apply_basic_block(x, inner_width, width, strides, shortcut=shortcut, name=name)
    return x


def _finish(inputs, x, num_classes, classifier_activation, name):
    x = layers.GlobalAveragePooling2D(name="head_pool")(x)
    return keras.Model(inputs, apply_classifier(x, num_classes, classifier_activation), name=name)


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
