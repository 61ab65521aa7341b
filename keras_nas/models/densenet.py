"""DenseNet for CIFAR."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from keras_nas.models.conv_block import BN_EPSILON, BN_MOMENTUM, apply_classifier, apply_conv
from keras_nas.models.registry import register
from keras_nas.models.widths import resolve_widths

LAYERS_A_STAGE = 12


@register
def densenet40_cifar(
    input_shape: Sequence[int] = (32, 32, 3),
    num_classes: int = 10,
    stem_width: int = 24,
    growth_rates: Sequence[Sequence[int]] | None = None,
    transition_widths: Sequence[int] | None = None,
    classifier_activation: str | None = None,
    name: str = "densenet40_cifar",
) -> keras.Model:
    """DenseNet-40 of growth rate 12: 282.92 M macs, 1.06 M params; FGNAS prints 566 M flops.

    Three dense stages of twelve BN-ReLU-Conv layers, 1×1 convolutions and average pooling between
    them, no bottlenecks and no compression.

    Args:
        input_shape: `(height, width, channels)`.
        num_classes: Number of outputs.
        stem_width: Channels of the first convolution.
        growth_rates: Channels that each dense layer adds, by stage; three lists of twelve, 12 each
            by default.
        transition_widths: Channels after each of the two transitions; by default what enters them.
        classifier_activation: For instance "softmax"; None gives logits.
        name: Of the model.

    References:
        Huang et al., Densely Connected Convolutional Networks (2016).
    """
    growth_rates = resolve_widths(growth_rates, [[12] * LAYERS_A_STAGE] * 3, "growth_rates")
    whole_widths = [stem_width + sum(map(sum, growth_rates[: stage + 1])) for stage in range(2)]
    transition_widths = resolve_widths(transition_widths, whole_widths, "transition_widths")
    inputs = keras.Input(tuple(input_shape), name="image")
    x = apply_conv(inputs, stem_width, 3, name="stem_conv")
    for stage, rates in enumerate(growth_rates, start=1):
        for index, rate in enumerate(rates, start=1):
            x = apply_dense_block(x, rate, name=f"stage{stage}_layer{index}")
        if stage <= len(transition_widths):
            width = transition_widths[stage - 1]
            x = apply_transition_block(x, width, name=f"transition{stage}")
    x = _bn_relu(x, "head")
    x = layers.GlobalAveragePooling2D(name="head_pool")(x)
    outputs = apply_classifier(x, num_classes, classifier_activation)
    return keras.Model(inputs, outputs, name=name)


def apply_dense_block(x: keras.KerasTensor, growth_rate: int, *, name: str) -> keras.KerasTensor:
    """x with `growth_rate` new channels behind it, from BN-ReLU-Conv(3×3) of x."""
    new = apply_conv(_bn_relu(x, name), growth_rate, 3, name=f"{name}_conv")
    return layers.Concatenate(name=f"{name}_concat")([x, new])


def apply_transition_block(x: keras.KerasTensor, width: int, *, name: str) -> keras.KerasTensor:
    """BN-ReLU-Conv(1×1) to `width` channels, then average pooling by 2."""
    x = apply_conv(_bn_relu(x, name), width, 1, name=f"{name}_conv")
    return layers.AveragePooling2D(2, name=f"{name}_pool")(x)


def _bn_relu(x, name):
    x = layers.BatchNormalization(momentum=BN_MOMENTUM, epsilon=BN_EPSILON, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)
