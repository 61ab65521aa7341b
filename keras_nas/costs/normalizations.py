"""Params and state of normalisation layers and PReLU; they multiply, but no macs are counted."""

from __future__ import annotations

import math
from collections.abc import Iterable

from keras import layers

from keras_nas.costs.formulas import Call, Counts, for_layers


@for_layers(layers.BatchNormalization)
def batch_normalization(call: Call) -> Counts:
    layer = call.operation
    channels = call.inputs[0][layer.axis]
    return Counts(params=channels * (layer.scale + layer.center), state=2 * channels)


@for_layers(layers.LayerNormalization)
def layer_normalization(call: Call) -> Counts:
    layer = call.operation
    size = _size(call, layer.axis)
    return Counts(params=size * (layer.scale + layer.center))


@for_layers(layers.GroupNormalization)
def group_normalization(call: Call) -> Counts:
    layer = call.operation
    return Counts(params=call.inputs[0][layer.axis] * (layer.scale + layer.center))


@for_layers(layers.RMSNormalization)
def rms_normalization(call: Call) -> Counts:
    return Counts(params=_size(call, call.operation.axis))


@for_layers(layers.Normalization)
def normalization(call: Call) -> Counts:
    """Its mean, variance and count are state, unless they were given as arguments."""
    layer = call.operation
    if layer.input_mean is not None:
        return Counts()
    return Counts(state=2 * _size(call, () if layer.axis is None else layer.axis) + 1)


@for_layers(layers.PReLU)
def prelu(call: Call) -> Counts:
    shared = set(call.operation.shared_axes or ())
    sizes = (size for axis, size in enumerate(call.inputs[0]) if axis > 0 and axis not in shared)
    return Counts(params=math.prod(sizes))


def _size(call: Call, axes: int | Iterable[int]) -> int:
    axes = [axes] if isinstance(axes, int) else axes
    return math.prod(call.inputs[0][axis] for axis in axes)
