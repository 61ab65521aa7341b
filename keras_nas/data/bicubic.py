"""Bicubic resizing that gives MATLAB's `imresize` values.

Super-resolution papers make their low-resolution images with MATLAB's antialiased bicubic
`imresize`; another bicubic (OpenCV's, or one without antialiasing) shifts a benchmark by up to a
decibel. The kernel is Keys' cubic convolution with a = -1/2. Scaling down by s stretches it by
1/s (antialiasing); every output's weights are normalised to 1; pixels outside the image are its
mirror image, the border pixel repeated.

Reference: R. Keys, Cubic Convolution Interpolation for Digital Image Processing, 1981, Eq. 15.
"""

from __future__ import annotations

import functools
import math
from typing import TypeAlias

import numpy as np

from keras_nas.errors import KerasNasError, UsageError

Scale: TypeAlias = float | tuple[float, float]

_KERNEL_WIDTH = 4.0


def cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic kernel with a = -1/2: 1 at 0, 0 at ±1 and beyond ±2. Float64, `x`'s shape."""
    x = np.abs(np.asarray(x, np.float64))
    near = 1.5 * x**3 - 2.5 * x**2 + 1.0
    far = -0.5 * x**3 + 2.5 * x**2 - 4.0 * x + 2.0
    return np.where(x <= 1.0, near, np.where(x <= 2.0, far, 0.0))


@functools.lru_cache(maxsize=256)
def resize_weights(
    length: int, out_length: int, scale: float, antialias: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """The weights and sources of every output pixel along one axis.

    Output pixel i (from 0) lies at u = (i + 1/2) / scale - 1/2 of the input. Its value is
    `sum(weights[i] * line[indices[i]])`.

    Args:
        length: Input pixels, 1 or more.
        out_length: Output pixels, 1 or more.
        scale: Output size over input size; below 1 shrinks.
        antialias: Stretch the kernel by 1 / `scale` when shrinking.

    Returns:
        `weights`, float64 of shape (out_length, taps), each row of sum 1, and `indices`, int64 of
        the same shape, in 0 … length - 1, mirrored at the ends. Both are read-only.
    """
    stretch = scale if antialias and scale < 1.0 else 1.0
    width = _KERNEL_WIDTH / stretch
    position = (np.arange(out_length, dtype=np.float64) + 0.5) / scale - 0.5
    first = np.floor(position - width / 2.0).astype(np.int64)
    sources = first[:, None] + np.arange(math.ceil(width) + 2)
    weights = stretch * cubic(stretch * (position[:, None] - sources))
    weights /= weights.sum(axis=1, keepdims=True)
    mirrored = np.concatenate([np.arange(length), np.arange(length)[::-1]])
    indices = mirrored[sources % (2 * length)]
    used = weights.any(axis=0)
    weights, indices = weights[:, used], indices[:, used]
    weights.setflags(write=False)
    indices.setflags(write=False)
    return weights, indices


def imresize(
    image: np.ndarray,
    scale: Scale | None = None,
    output_shape: tuple[int, int] | None = None,
    antialias: bool = True,
) -> np.ndarray:
    """MATLAB's `imresize(image, scale)` or `imresize(image, output_shape)`, method bicubic.

    The axis of the smaller scale goes first. A uint8 image is rounded and clipped to 0 … 255
    after each axis, as MATLAB does; a floating-point one is neither rounded nor clipped.

    Example:

    ```python
    low = imresize(high, 0.5)                       # (96, 96, 3) uint8 -> (48, 48, 3) uint8
    ```

    Args:
        image: Shape (height, width) or (height, width, channels), uint8 or floating point.
        scale: One factor or (vertical, horizontal). The output has ceil(scale · size) pixels.
        output_shape: (height, width) in place of `scale`.
        antialias: As MATLAB's `Antialiasing`, which is on by default.

    Returns:
        The resized image: uint8 from uint8, else float64 from float64 and float32 from any
        other floating point (computed in float64).

    Raises:
        KerasNasError: Not exactly one of `scale` and `output_shape`, a size or factor that is not
            positive, or an image of another rank or dtype.
    """
    image = _checked_image(image)
    scales, shape = _sizes(image.shape[:2], scale, output_shape)
    result = image.astype(np.float64)
    for axis in sorted((0, 1), key=lambda a: scales[a]):
        if scales[axis] == 1.0 and shape[axis] == image.shape[axis]:
            continue
        weights, indices = resize_weights(image.shape[axis], shape[axis], scales[axis], antialias)
        result = _resize_axis(result, weights, indices, axis)
        if image.dtype == np.uint8:
            result = np.clip(np.floor(result + 0.5), 0.0, 255.0)
    return result.astype(image.dtype if image.dtype != np.float16 else np.float32)


def _resize_axis(
    image: np.ndarray, weights: np.ndarray, indices: np.ndarray, axis: int
) -> np.ndarray:
    shape = [1] * image.ndim
    shape[axis] = -1
    taps = (
        weights[:, tap].reshape(shape) * np.take(image, indices[:, tap], axis=axis)
        for tap in range(weights.shape[1])
    )
    return functools.reduce(np.add, taps)


def _scaled(length: int, scale: float) -> int:
    return math.ceil(length * scale)


def _checked_image(image: np.ndarray) -> np.ndarray:
    image = np.asarray(image)
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise UsageError(
            "`image` must have shape (height, width) or (height, width, channels), none of them "
            f"0. Received: image.shape={image.shape}"
        )
    if image.dtype != np.uint8 and not np.issubdtype(image.dtype, np.floating):
        raise UsageError(
            f"`image` must be uint8 or floating point. Received: image.dtype={image.dtype}"
        )
    return image


def _checked_scales(scale: Scale) -> tuple[float, float]:
    scales = (scale, scale) if isinstance(scale, (int, float)) else tuple(scale)
    if len(scales) != 2 or not all(math.isfinite(s) and s > 0 for s in scales):
        raise UsageError(
            "`scale` must be one positive number or two (vertical, horizontal). "
            f"Received: scale={scale}"
        )
    return float(scales[0]), float(scales[1])


def _sizes(
    size: tuple[int, ...], scale: Scale | None, output_shape: tuple[int, int] | None
) -> tuple[tuple[float, float], tuple[int, int]]:
    if scale is not None and output_shape is None:
        scales = _checked_scales(scale)
        return scales, (_scaled(size[0], scales[0]), _scaled(size[1], scales[1]))
    if scale is not None or output_shape is None:
        raise KerasNasError(
            "Exactly one of `scale` and `output_shape` must be given. "
            f"Received: scale={scale}, output_shape={output_shape}"
        )
    if len(output_shape) != 2 or min(output_shape) < 1:
        raise UsageError(
            "`output_shape` must be two positive integers (height, width). "
            f"Received: output_shape={output_shape}"
        )
    height, width = int(output_shape[0]), int(output_shape[1])
    return (height / size[0], width / size[1]), (height, width)
