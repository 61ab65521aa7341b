"""The CIFAR ResNets of depth 6n + 2, and a small one for the demos."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from keras_nas.errors import KerasNasError
from keras_nas.models.basic_block import apply_basic_block
from keras_nas.models.conv_block import apply_classifier, apply_conv_bn_block
from keras_nas.models.registry import register
from keras_nas.models.widths import resolve_widths

SHORTCUTS = ("pad", "projection")
STAGE_WIDTHS = [16, 32, 64]


@register
def resnet56_cifar(
    input_shape: Sequence[int] = (32, 32, 3),
    num_classes: int = 10,
    stage_widths: Sequence[int] | None = None,
    inner_widths: Sequence[Sequence[int]] | None = None,
    shortcut: str = "pad",
    classifier_activation: str | None = None,
    name: str = "resnet56_cifar",
) -> keras.Model:
    """ResNet-56 for CIFAR: 125.49 M macs (convolutions and Dense, no biases), 0.85 M params.

    Args:
        input_shape: `(height, width, channels)`.
        num_classes: Number of outputs.
        stage_widths: Channels of the residual stream in each of the three stages; the stem has the
            first stage's. [16, 32, 64] by default.
        inner_widths: Channels between the two convolutions of each block, by stage; three lists of
            nine, the stage's width by default.
        shortcut: "pad" (no parameters, as printed) or "projection", between stages. With "pad" the
            stages' widths must not fall.
        classifier_activation: For instance "softmax"; None gives logits.
        name: Of the model.

    Raises:
        KerasNasError: If a width or `shortcut` does not fit.

    References:
        He et al., Deep Residual Learning for Image Recognition (2015), section 4.2.
    """
    return _resnet_cifar(
        9, input_shape, num_classes, stage_widths, inner_widths, shortcut,
        classifier_activation, name,
    )  # fmt: skip


@register
def resnet20_cifar(
    input_shape: Sequence[int] = (32, 32, 3),
    num_classes: int = 10,
    stage_widths: Sequence[int] | None = None,
    inner_widths: Sequence[Sequence[int]] | None = None,
    shortcut: str = "pad",
    classifier_activation: str | None = None,
    name: str = "resnet20_cifar",
) -> keras.Model:
    """ResNet-20 for CIFAR, three blocks a stage: 40.55 M macs; FGNAS prints 81 M flops.

    The arguments are those of `resnet56_cifar`; `inner_widths` is three lists of three.
    """
    return _resnet_cifar(
        3, input_shape, num_classes, stage_widths, inner_widths, shortcut,
        classifier_activation, name,
    )  # fmt: skip


@register
def small_resnet(
    input_shape: Sequence[int] = (28, 28, 1),
    num_classes: int = 10,
    stage_widths: Sequence[int] | None = None,
    inner_widths: Sequence[Sequence[int]] | None = None,
    shortcut: str = "projection",
    classifier_activation: str | None = None,
    name: str = "small_resnet",
) -> keras.Model:
    """A ResNet of two blocks a stage for small grey pictures (28 × 28).

    The arguments are those of `resnet56_cifar`; `inner_widths` is three lists of two.
    """
    return _resnet_cifar(
        2, input_shape, num_classes, stage_widths, inner_widths, shortcut,
        classifier_activation, name,
    )  # fmt: skip


def _resnet_cifar(
    blocks, input_shape, num_classes, stage_widths, inner_widths, shortcut, activation, name
):
    if shortcut not in SHORTCUTS:
        raise KerasNasError(f"`shortcut` must be one of {SHORTCUTS}. Received: {shortcut!r}")
    stage_widths = resolve_widths(stage_widths, STAGE_WIDTHS, "stage_widths")
    if shortcut == "pad" and list(stage_widths) != sorted(stage_widths):
        raise KerasNasError(
            "`stage_widths` must not fall where `shortcut` is 'pad', which can only add channels. "
            f"Received: stage_widths={stage_widths}"
        )
    own_widths = [[width] * blocks for width in stage_widths]
    inner_widths = resolve_widths(inner_widths, own_widths, "inner_widths")
    inputs = keras.Input(tuple(input_shape), name="image")
    x = apply_conv_bn_block(inputs, stage_widths[0], name="stem")
    for stage, (width, widths) in enumerate(zip(stage_widths, inner_widths, strict=True), start=1):
        for block, inner_width in enumerate(widths, start=1):
            strides = 2 if stage > 1 and block == 1 else 1
            x = apply_basic_block(
                x, inner_width, width, strides, shortcut=shortcut,
                name=f"stage{stage}_block{block}",
            )  # fmt: skip
    x = layers.GlobalAveragePooling2D(name="head_pool")(x)
    outputs = apply_classifier(x, num_classes, activation)
    return keras.Model(inputs, outputs, name=name)
