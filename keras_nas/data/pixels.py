"""The pixels that networks want, by name; needs no TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from keras_nas.errors import UsageError


class PixelRange(NamedTuple):
    """What a network is given for a pixel v of 0 … 255: (v − mean) / std.

    Attributes:
        mean, std: One number for all channels, or one for each of red, green, blue.
        bgr: Whether the channels are then put in the order blue, green, red.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    bgr: bool = False


STANDARDIZED = "standardized"
"""By the mean and the deviation of the data."""

_RAW = PixelRange((0.0,), (1.0,))
_UNIT = PixelRange((0.0,), (255.0,))
_SYMMETRIC = PixelRange((127.5,), (127.5,))
_TORCH = PixelRange((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
_CAFFE = PixelRange((123.68, 116.779, 103.939), (1.0,), bgr=True)

RANGES: dict[str, PixelRange] = {
    "0..255": _RAW,
    "0..1": _UNIT,
    "-1..1": _SYMMETRIC,
    "caffe": _CAFFE,
    "tf": _SYMMETRIC,
    "torch": _TORCH,
    "convnext": _RAW,
    "densenet": _TORCH,
    "efficientnet": _RAW,
    "efficientnet_v2": _RAW,
    "inception_resnet_v2": _SYMMETRIC,
    "inception_v3": _SYMMETRIC,
    "mobilenet": _SYMMETRIC,
    "mobilenet_v2": _SYMMETRIC,
    "mobilenet_v3": _RAW,
    "nasnet": _SYMMETRIC,
    "resnet": _CAFFE,
    "resnet50": _CAFFE,
    "resnet_v2": _SYMMETRIC,
    "vgg16": _CAFFE,
    "vgg19": _CAFFE,
    "xception": _SYMMETRIC,
}
"""Ranges; the modes of `keras.applications.imagenet_utils.preprocess_input`; and the modules of
keras.applications, by what their own `preprocess_input` does."""

PIXELS = (STANDARDIZED, *RANGES)
"""The choices of `pixels`."""


def pixel_range(
    pixels: str = STANDARDIZED,
    pixel_mean: Sequence[float] = (),
    pixel_std: Sequence[float] = (),
) -> PixelRange | None:
    """What a network is given, by a name or by numbers.

    Args:
        pixels: One of `PIXELS`.
        pixel_mean, pixel_std: Both or neither; they stand for a range that has no name.

    Returns:
        None for `STANDARDIZED` without numbers.

    Raises:
        UsageError: Another name, a name and numbers, one without the other, or a `pixel_std` that
            is not positive.
    """
    if pixels not in PIXELS:
        raise UsageError(f"`pixels` must be one of {PIXELS}. Received: pixels={pixels!r}")
    mean, std = tuple(map(float, pixel_mean)), tuple(map(float, pixel_std))
    if not mean and not std:
        return RANGES.get(pixels)
    received = f"pixels={pixels!r}, pixel_mean={mean}, pixel_std={std}"
    if not (mean and std) or pixels != STANDARDIZED:
        raise UsageError(
            "`pixel_mean` and `pixel_std` must be given together, and without `pixels`. "
            f"Received: {received}"
        )
    if min(std) <= 0.0:
        raise UsageError(f"`pixel_std` must be greater than 0. Received: {received}")
    return PixelRange(mean, std)
