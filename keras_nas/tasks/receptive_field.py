"""How far an image-to-image model looks, read off its graph."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import keras
import numpy as np

from keras_nas import graph
from keras_nas.errors import KerasNasError
from keras_nas.graph import kinds
from keras_nas.graph.ir import Node, Value
from keras_nas.layers.gate import Gate

_WINDOWED = kinds.CONVOLUTIONS | kinds.DEPTHWISE_CONVOLUTIONS | kinds.SEPARABLE_CONVOLUTIONS
_POOLING = frozenset(["MaxPooling2D", "AveragePooling2D"])
_ENLARGING = frozenset(["ops.DepthToSpace", "UpSampling2D", "Conv2DTranspose"])
_POINTWISE = frozenset(
    ["Activation", "ReLU", "LeakyReLU", "ELU", "PReLU", "BatchNormalization", "Rescaling",
     "Normalization", "Dropout", "SpatialDropout2D", "Identity", "Add", "Subtract", "Multiply",
     "Average", "Maximum", "Minimum", "Concatenate", "ops.Add", "ops.Subtract", "ops.Multiply",
     "ops.Divide", "ops.TrueDivide", "ops.Negative", "ops.Maximum", "ops.Minimum", "ops.Clip",
     "ops.Relu", "ops.Relu6", "ops.LeakyRelu", "ops.Sigmoid", "ops.Tanh", "ops.Absolute",
     "ops.Square", "ops.Concatenate", "ops.Take", "ops.GetItem", "ops.Pad"]
)  # fmt: skip


@dataclass(frozen=True)
class _Reach:
    """`pixel`: the side of one pixel in input pixels; `radius`: how far it looks, in the same."""

    pixel: Fraction
    radius: Fraction


def receptive_radius(model: keras.Model) -> int:
    """The number of input pixels on each side that can change an output pixel.

    The output pixels that lie over input pixel (y, x) depend on no input further from it than this
    many rows or columns. Convolutions and pooling of stride 1 with "same" padding, enlarging
    layers, gates, mixed layers and everything that works pixel by pixel are known.

    Example: one 3×3 convolution gives 1; EDSR of 16 blocks gives 36 (head, 32 in blocks, body,
    upsampler, and half a pixel for the last convolution at twice the resolution).

    Args:
        model: Functional, with one input (batch, height, width, channels).

    Raises:
        KerasNasError: A layer is not one of these: it shrinks, looks at the whole image, or is
            unknown. The layer is named.
    """
    read = graph.read(model)
    reaches: dict[Value, _Reach] = {
        value: _Reach(Fraction(1), Fraction(0)) for value in read.inputs
    }
    for node in read.nodes:
        inputs = [reaches[value] for value in node.inputs if value in reaches]
        if not inputs:
            continue
        reach = _through(node, inputs)
        reaches.update((value, reach) for value in node.outputs)
    return max(math.ceil(reaches[value].radius) for value in read.outputs)


def _through(node: Node, inputs: list[_Reach]) -> _Reach:
    operation, kind = node.operation, kinds.kind(node.operation)
    pixel, radius = inputs[0].pixel, max(reach.radius for reach in inputs)
    if all(reach.pixel == pixel for reach in inputs):
        if isinstance(operation, Gate) or (kind in _POINTWISE and _same_everywhere(node)):
            return _Reach(pixel, radius)
        if kind in _WINDOWED and _keeps_size(operation):
            dilations = _pair(operation.dilation_rate)
            extents = zip(operation.kernel_size, dilations, strict=True)
            looks = max(math.ceil((size - 1) * dilation / 2) for size, dilation in extents)
            return _Reach(pixel, radius + looks * pixel)
        if kind in _POOLING and _keeps_size(operation):
            return _Reach(pixel, radius + max(operation.pool_size) // 2 * pixel)
        if kind in _ENLARGING:
            factor, looks = _enlargement(operation, kind)
            if factor is not None:
                return _Reach(pixel / factor, radius + looks * pixel)
    raise KerasNasError(
        f"How far layer '{node.name}' ({type(operation).__name__}) looks is not known: give "
        "`overlap`, or run the model on whole images."
    )


def _same_everywhere(node: Node) -> bool:
    """Whether a pointwise node works alike at every pixel, and not along the image's axes."""
    operation = node.operation
    if isinstance(operation, keras.layers.PReLU):
        return set(operation.shared_axes or ()) >= {1, 2}
    if kinds.kind(operation) == "ops.GetItem":
        return _takes_channels(node)
    if kinds.kind(operation) == "ops.Pad":
        return all(tuple(widths) == (0, 0) for widths in operation.pad_width[1:3])
    if hasattr(operation, "axis"):
        axes = operation.axis if isinstance(operation.axis, (list, tuple)) else [operation.axis]
        return all(axis in (-1, 3) for axis in axes)
    constants = [
        leaf for leaf in keras.tree.flatten((node.args, node.kwargs)) if not isinstance(leaf, Value)
    ]
    return all(np.ndim(constant) <= 1 for constant in constants)


def _takes_channels(node: Node) -> bool:
    """Whether an index such as `x[..., 2:5]` leaves batch, height and width whole."""
    key = node.args[1] if len(node.args) > 1 else node.kwargs["key"]
    key = key if isinstance(key, tuple) else (key,)
    key = key if Ellipsis in key else (*key, Ellipsis)
    place = key.index(Ellipsis)
    missing = len(node.inputs[0].shape) - (len(key) - 1)
    key = (*key[:place], *[slice(None)] * missing, *key[place + 1 :])
    return all(part == slice(None) for part in key[:-1]) and isinstance(key[-1], slice)


def _keeps_size(operation) -> bool:
    size = getattr(operation, "kernel_size", None) or operation.pool_size
    padded = operation.padding == "same" or set(size) == {1}
    return kinds.is_channels_last(operation) and padded and set(_pair(operation.strides)) == {1}


def _enlargement(operation, kind: str) -> tuple[int | None, int]:
    """The factor, `None` where it is not one for both axes, and how many input pixels it looks."""
    if not kinds.is_channels_last(operation):
        return None, 0
    if kind == "ops.DepthToSpace":
        return operation.block_size, 0
    if kind == "UpSampling2D":
        factors, looks = operation.size, {"nearest": 0, "bilinear": 1}
        return _common(factors), looks.get(operation.interpolation, 3)
    factor = _common(operation.strides)
    if operation.padding != "same" or set(_pair(operation.dilation_rate)) != {1}:
        factor = None
    return factor, math.ceil(max(operation.kernel_size) / max(operation.strides))


def _common(factors) -> int | None:
    return factors[0] if len(set(factors)) == 1 else None


def _pair(value) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)
