"""Forms of Keras operations that TFLite's converter makes an accelerator's operations of.

Each takes the operation, what it reads and the name of what it makes, and returns the result, or
None where the operation's own form is taken already or cannot be replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from keras_nas.graph.kinds import activation_name

Rewrite = Callable[[Any, Any, str], Any]


def _global_average(operation: Any, x: Any, name: str) -> Any:
    return _global_pool(layers.AveragePooling2D, operation, x, name)


def _global_maximum(operation: Any, x: Any, name: str) -> Any:
    return _global_pool(layers.MaxPooling2D, operation, x, name)


def _global_pool(pooling: type, operation: Any, x: Any, name: str) -> Any:
    """MEAN and REDUCE_MAX as one window of the whole size, with a RESHAPE where axes go."""
    size = x.shape[1:3]
    if operation.data_format != "channels_last" or None in size:
        return None
    if operation.keepdims:
        return pooling(size, name=name, dtype=operation.dtype_policy)(x)
    x = pooling(size, name=f"{name}_window", dtype=operation.dtype_policy)(x)
    return layers.Reshape((x.shape[-1],), name=name, dtype=operation.dtype_policy)(x)


def _mean(operation: Any, x: Any, name: str) -> Any:
    """`ops.mean` over height and width, as squeeze-and-excitation is often written."""
    axes = operation.axis if isinstance(operation.axis, (list, tuple)) else (operation.axis,)
    if len(x.shape) != 4 or {axis % 4 for axis in axes if axis is not None} != {1, 2}:
        return None
    pool = layers.GlobalAveragePooling2D(keepdims=operation.keepdims, dtype=x.dtype)
    return _global_average(pool, x, name)


def _depth_to_space(operation: Any, x: Any, name: str) -> Any:
    """DEPTH_TO_SPACE as a TRANSPOSE_CONV whose kernel puts each channel in its place.

    Channel (i · b + j) · c + k of a pixel is channel k at (i, j) of its block of b × b.
    """
    block = operation.block_size
    if operation.data_format not in (None, "channels_last") or x.shape[-1] is None:
        return None
    channels = x.shape[-1] // block**2
    kernel = np.eye(x.shape[-1]).reshape(block, block, channels, x.shape[-1])
    return _transposed(kernel, x, name)


def _nearest(operation: Any, x: Any, name: str) -> Any:
    """Repeated pixels, which are reshapes of rank 5 in .tflite, as a TRANSPOSE_CONV."""
    if operation.interpolation != "nearest" or operation.data_format != "channels_last":
        return None
    if x.shape[-1] is None:
        return None
    one = np.eye(x.shape[-1])[None, None]
    return _transposed(np.tile(one, (*operation.size, 1, 1)), x, name)


def _transposed(kernel: np.ndarray, x: Any, name: str) -> Any:
    """A transposed convolution whose blocks stand side by side."""
    size = kernel.shape[:2]
    layer = layers.Conv2DTranspose(
        kernel.shape[2], size, strides=size, use_bias=False, name=name, dtype=x.dtype
    )
    made = layer(x)
    layer.set_weights([kernel])
    return made


def _leaky_relu(operation: Any, x: Any, name: str) -> Any:
    return leaky_relu(x, name, float(operation.negative_slope))


def leaky_relu(x: Any, name: str, slope: float = 0.2) -> Any:
    """LEAKY_RELU as a PRELU of one slope; 0.2 is `keras.activations.leaky_relu`'s own."""
    slopes = keras.initializers.Constant(slope)
    axes = list(range(1, len(x.shape) - 1))
    return layers.PReLU(slopes, shared_axes=axes or None, name=name, dtype=x.dtype)(x)


def _prelu(operation: Any, x: Any, name: str) -> Any:
    """Slopes by position, which the delegate's PRELU does not read, beside two one-sided parts."""
    slopes = np.asarray(operation.alpha)
    if all(size == 1 for size in slopes.shape[:-1]):
        return None
    below = ops.multiply(ops.minimum(x, 0.0), slopes[None])
    return _named(ops.add(layers.ReLU(name=f"{name}_above", dtype=x.dtype)(x), below), name)


def _average(operation: Any, x: Any, name: str) -> Any:
    """AVERAGE_POOL_2D as a DEPTHWISE_CONV_2D of one weight, where no window leaves the picture."""
    size, strides = operation.pool_size, operation.strides
    if operation.data_format != "channels_last" or None in x.shape[1:]:
        return None
    sides = x.shape[1:3]
    fits = size == strides and all(side % step == 0 for side, step in zip(sides, size, strict=True))
    if (operation.padding == "same" and not fits) or strides[0] != strides[1]:
        return None
    one = keras.initializers.Constant(1 / (size[0] * size[1]))
    layer = layers.DepthwiseConv2D(
        size, strides, use_bias=False, depthwise_initializer=one, name=name,
        dtype=operation.dtype_policy,
    )  # fmt: skip
    return layer(x)


def _dense(operation: Any, x: Any, name: str) -> Any:
    """FULLY_CONNECTED of version 5, a Dense layer over pixels, as the 1×1 convolution it is."""
    if len(x.shape) != 4 or operation.quantization_mode or operation.lora_enabled:
        return None
    other = ACTIVATIONS.get(activation_name(operation.activation))
    layer = layers.Conv2D(
        operation.units,
        1,
        activation=None if other else operation.activation,
        use_bias=operation.use_bias,
        name=f"{name}_linear" if other else name,
        dtype=operation.dtype_policy,
    )
    made = layer(x)
    kernel, *bias = operation.get_weights()
    layer.set_weights([kernel[None, None], *bias])
    return other(made, name) if other else made


def hard_silu(x: Any, name: str) -> Any:
    """HARD_SWISH as x / 6 · min(max(x + 3, 0), 6).

    With the sixth at the other factor the converter would put the parts together again.
    """
    gate = ops.relu6(ops.add(x, 3.0))
    return _named(ops.multiply(ops.multiply(x, 1.0 / 6.0), gate), name)


def _hard_silu(operation: Any, x: Any, name: str) -> Any:
    return hard_silu(x, name)


def _named(x: Any, name: str) -> Any:
    x._keras_history.operation.name = name
    return x


REWRITES: dict[str, Rewrite] = {
    "Dense": _dense,
    "GlobalAveragePooling2D": _global_average,
    "GlobalMaxPooling2D": _global_maximum,
    "LeakyReLU": _leaky_relu,
    "PReLU": _prelu,
    "UpSampling2D": _nearest,
    "ops.DepthToSpace": _depth_to_space,
    "ops.HardSilu": _hard_silu,
    "ops.LeakyRelu": _leaky_relu,
    "ops.Mean": _mean,
}
"""Of the GPU delegate, by the kind of the operation; see `keras_nas.graph.kinds.kind`."""

XNNPACK_REWRITES: dict[str, Rewrite] = {"AveragePooling2D": _average}
"""Of XNNPACK in int8, which has MEAN but no AVERAGE_POOL_2D."""

ACTIVATIONS: dict[str, Callable[[Any, str], Any]] = {
    "hard_silu": hard_silu,
    "leaky_relu": leaky_relu,
}
"""By the name of a layer's activation."""
