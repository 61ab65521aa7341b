"""The networks that the contest takes channels from: small enough for hours on two cores."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras

import keras_nas as kn

HALF_MOBILENET = {
    "stem_width": 16,
    "block_widths": [8, 12, 12, 16, 16, 16, 32, 32, 32, 32, 48, 48, 48, 80, 80, 80, 160],
    "head_width": 320,
    "dropout": 0.0,
}


def small_resnet(input_shape: Sequence[int], classes: int) -> keras.Model:
    """Two blocks a stage, as in the demo."""
    return kn.models.small_resnet(input_shape, classes)


def resnet20(input_shape: Sequence[int], classes: int) -> keras.Model:
    """ResNet-20 with projections at its two strides."""
    return kn.models.resnet20_cifar(input_shape, classes, shortcut="projection")


def small_vgg(input_shape: Sequence[int], classes: int) -> keras.Model:
    """Six convolutions, as in the demo."""
    return kn.models.small_vgg(input_shape, classes)


def mobilenet(input_shape: Sequence[int], classes: int) -> keras.Model:
    """MobileNetV2 for small images, half as wide."""
    return kn.models.mobilenet_v2_cifar(input_shape, classes, **HALF_MOBILENET)


NETWORKS: dict[str, Callable[[Sequence[int], int], keras.Model]] = {
    "small_resnet": small_resnet,
    "resnet20": resnet20,
    "small_vgg": small_vgg,
    "mobilenet": mobilenet,
}
