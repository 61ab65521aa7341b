"""Multiply-adds and params of convolutions.

Worked example: Conv2D(8, 3, groups=2, padding="same") on 10 × 10 × 4 does, for each of the 100 × 8
output values, 3 · 3 · (4 / 2) = 18 multiply-adds: 14,400. Its kernel has 18 · 8 = 144 values, its
bias 8.
"""

from __future__ import annotations

import math

from keras import layers

from keras_nas.costs.formulas import Call, Counts, for_layers


@for_layers(layers.Conv1D, layers.Conv2D, layers.Conv3D)
def convolution(call: Call) -> Counts:
    groups = call.operation.groups if call.groups is None else call.groups
    kernel = math.prod(call.operation.kernel_size) * (call.channels_in // groups)
    return Counts(
        macs=call.positions_out * call.channels_out * kernel,
        params=call.channels_out * (kernel + call.has_bias),
    )


@for_layers(layers.DepthwiseConv1D, layers.DepthwiseConv2D)
def depthwise_convolution(call: Call) -> Counts:
    kernel = math.prod(call.operation.kernel_size)
    return Counts(
        macs=call.positions_out * call.channels_out * kernel,
        params=call.channels_out * (kernel + call.has_bias),
    )


@for_layers(layers.SeparableConv1D, layers.SeparableConv2D)
def separable_convolution(call: Call) -> Counts:
    middle = call.channels_in * call.operation.depth_multiplier
    kernel = math.prod(call.operation.kernel_size)
    weights = middle * kernel + middle * call.channels_out
    return Counts(
        macs=call.positions_out * weights,
        params=weights + call.channels_out * call.has_bias,
    )


@for_layers(layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
def transposed_convolution(call: Call) -> Counts:
    """Each input value meets the whole kernel once; what falls off the border counts too."""
    kernel = math.prod(call.operation.kernel_size) * call.channels_in
    return Counts(
        macs=call.positions_in * call.channels_out * kernel,
        params=call.channels_out * (kernel + call.has_bias),
    )
