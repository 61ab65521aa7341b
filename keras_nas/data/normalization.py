"""The standardisation of pixels: (pixel / 255 − mean) / std."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from keras_nas.errors import UsageError


@dataclass(frozen=True)
class Normalization:
    """Per-channel mean and standard deviation of pixels in 0 … 1.

    Attributes:
        mean: One float a channel.
        std: One positive float a channel.

    Raises:
        KerasNasError: The two lengths differ, or a `std` is not positive.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not self.mean or min(self.std) <= 0.0:
            raise UsageError(
                "`mean` and `std` must have one value a channel, and `std` positive ones. "
                f"Received: mean={self.mean}, std={self.std}"
            )

    @property
    def scale(self) -> np.ndarray:
        """1 / (255 std), float32 (channels,): `pixel * scale + offset` is the standardised one."""
        return (1.0 / (255.0 * np.asarray(self.std))).astype(np.float32)

    @property
    def offset(self) -> np.ndarray:
        """−mean / std, float32 (channels,)."""
        return (-np.asarray(self.mean) / np.asarray(self.std)).astype(np.float32)

    def apply(self, images: tf.Tensor) -> tf.Tensor:
        """Standardises `images`, any dtype with values 0 … 255, (…, channels). Float32."""
        return tf.cast(images, tf.float32) * self.scale + self.offset

    def undo(self, images: Sequence | np.ndarray) -> np.ndarray:
        """The pixels, uint8 0 … 255, of standardised `images` (…, channels)."""
        pixels = (np.asarray(images) - self.offset) / self.scale
        return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
