"""EDSR-baseline for single-image super-resolution: residual blocks without normalisation."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers, ops

from keras_nas.errors import KerasNasError, UsageError
from keras_nas.models.conv_block import name_operation
from keras_nas.models.registry import register
from keras_nas.models.widths import resolve_widths

DIV2K_RGB_MEAN = (0.4488, 0.4371, 0.4040)


@register
def edsr(
    scale: int = 2,
    filters: int = 64,
    blocks: int = 16,
    input_shape: Sequence[int | None] = (None, None, 3),
    inner_widths: Sequence[int] | None = None,
    upsample_widths: Sequence[int] | None = None,
    residual_scale: float = 1.0,
    rgb_mean: Sequence[float] | None = DIV2K_RGB_MEAN,
    value_range: float = 1.0,
    name: str = "edsr",
) -> keras.Model:
    """The small EDSR ("baseline": 64 channels, 16 blocks) that FGNAS searches on.

    Every convolution is 3×3 with a bias, and nothing is normalised. Learned parameters at ×2:
    1,369,859. Its multiply-adds for a 1280×720 output are 316.25 G (FGNAS prints 2 × that).

    Args:
        scale: Enlargement, 2, 3 or 4 (4 is two steps of 2).
        filters: Channels of the residual stream.
        blocks: Number of residual blocks.
        input_shape: `(height, width, channels)`; height and width may be None.
        inner_widths: Channels between the two convolutions of each block; `filters` by default.
        upsample_widths: Channels after each pixel shuffle; `filters` by default.
        residual_scale: Factor on each block's branch (0.1 in the big EDSR).
        rgb_mean: Subtracted first and added last, in units of `value_range`; None for neither. One
            value a channel.
        value_range: Largest pixel value of inputs and outputs (1 or 255).
        name: Of the model.

    Returns:
        A model from `(batch, h, w, channels)` to `(batch, scale h, scale w, channels)`.

    Raises:
        KerasNasError: If `scale`, a width or `rgb_mean` does not fit.

    References:
        Lim et al., Enhanced Deep Residual Networks for Single Image Super-Resolution (2017).
    """
    steps = _shuffle_steps(scale)
    inner = resolve_widths(inner_widths, [filters] * blocks, "inner_widths")
    upsampled = resolve_widths(upsample_widths, [filters] * len(steps), "upsample_widths")
    channels = input_shape[-1]
    if rgb_mean is not None and len(rgb_mean) != channels:
        raise UsageError(
            f"`rgb_mean` must be None or have a value for each of the {channels} input channels. "
            f"Received: rgb_mean={rgb_mean}"
        )
    inputs = keras.Input(tuple(input_shape), name="image")
    x = inputs
    if rgb_mean is not None:
        mean = [float(value) * value_range for value in rgb_mean]
        x = layers.Rescaling(1.0, [-value for value in mean], name="subtract_mean")(x)
    x = head = _conv(x, filters, "head_conv")
    for index, width in enumerate(inner, start=1):
        x = apply_edsr_block(x, width, residual_scale, name=f"block{index}")
    x = _conv(x, filters, "body_conv")
    x = layers.Add(name="body_add")([x, head])
    for index, (factor, width) in enumerate(zip(steps, upsampled, strict=True), start=1):
        x = apply_upsample_block(x, width, factor, name=f"upsample{index}")
    x = _conv(x, channels, "tail_conv")
    if rgb_mean is not None:
        x = layers.Rescaling(1.0, mean, name="add_mean")(x)
    return keras.Model(inputs, x, name=name)


def apply_edsr_block(
    x: keras.KerasTensor, inner_width: int, residual_scale: float = 1.0, *, name: str
) -> keras.KerasTensor:
    """x + scale · conv(relu(conv(x))); the stream keeps its width."""
    shortcut = x
    x = _conv(x, inner_width, f"{name}_conv1")
    x = layers.ReLU(name=f"{name}_relu")(x)
    x = _conv(x, shortcut.shape[-1], f"{name}_conv2")
    if residual_scale != 1.0:
        x = layers.Rescaling(residual_scale, name=f"{name}_scale")(x)
    return layers.Add(name=f"{name}_add")([shortcut, x])


def apply_upsample_block(
    x: keras.KerasTensor, width: int, factor: int, *, name: str
) -> keras.KerasTensor:
    """A convolution to `factor² · width` channels, then the pixel shuffle `{name}_shuffle`."""
    if not hasattr(ops, "depth_to_space"):
        raise KerasNasError(
            f"The pixel shuffle '{name}_shuffle' needs `keras.ops.depth_to_space`, which Keras "
            f"{keras.__version__} lacks: install Keras 3.15, on Python 3.11 or newer."
        )
    x = _conv(x, width * factor**2, f"{name}_conv")
    return name_operation(ops.depth_to_space(x, factor), f"{name}_shuffle")


def _shuffle_steps(scale: int) -> list[int]:
    steps = {2: [2], 3: [3], 4: [2, 2]}
    if scale not in steps:
        raise UsageError(f"`scale` must be one of [2, 3, 4]. Received: scale={scale!r}")
    return steps[scale]


def _conv(x, filters, name):
    initializer = keras.initializers.VarianceScaling(1.0 / 3.0, "fan_in", "uniform")
    return layers.Conv2D(filters, 3, padding="same", kernel_initializer=initializer, name=name)(x)
