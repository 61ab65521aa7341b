"""The CIFAR ResNets of depth 6n + 2, and a small one for the demos."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from keras_nas.errors import UsageError
from keras_nas.models.basic_block import apply_basic_block
from keras_nas.models.conv_block import apply_classifier, apply_conv_bn_block
from keras_nas.models.registry import register_variant
from keras_nas.models.widths import resolve_widths

SHORTCUTS = ("pad", "projection")
STAGE_WIDTHS = [16, 32, 64]


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
    stage_widths = resolve_widths(stage_widths, STAGE_WIDTHS, "stage_widths")
    if shortcut == "pad" and list(stage_widths) != sorted(stage_widths):
        raise UsageError(
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
    outputs = apply_classifier(x, num_classes, classifier_activation)
    return keras.Model(inputs, outputs, name=name)


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
