"""What is done to pixels before a network sees them: (pixel / 255 − mean) / std."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from keras_nas.data.pixels import STANDARDIZED, pixel_range
from keras_nas.errors import UsageError


@dataclass(frozen=True)
class Normalization:
    """Per-channel mean and standard deviation of pixels in 0 … 1.

    Attributes:
        mean: One float a channel.
        std: One positive float a channel.
        bgr: Whether the channels are put in reverse order afterwards.
        fill: The pixel, in 0 … 1, that stands where a picture has none (padding, cutout); None for
            `mean`, which becomes 0.

    Raises:
        KerasNasError: The lengths differ, or a `std` is not positive.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    bgr: bool = False
    fill: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not self.mean or min(self.std) <= 0.0:
            raise UsageError(
                "`mean` and `std` must have one value a channel, and `std` positive ones. "
                f"Received: mean={self.mean}, std={self.std}"
            )
        if self.fill is not None and len(self.fill) != len(self.mean):
            raise UsageError(
                f"`fill` must have one value a channel, of {len(self.mean)}. "
                f"Received: fill={self.fill}"
            )

    @property
    def scale(self) -> np.ndarray:
        """1 / (255 std), float32 (channels,): `pixel * scale + offset` is the standardised one."""
        return (1.0 / (255.0 * np.asarray(self.std))).astype(np.float32)

    @property
    def offset(self) -> np.ndarray:
        """−mean / std, float32 (channels,)."""
        return (-np.asarray(self.mean) / np.asarray(self.std)).astype(np.float32)

    @property
    def padding(self) -> np.ndarray:
        """`fill` as the network sees it, float32 (channels,)."""
        fill = np.asarray(self.mean if self.fill is None else self.fill)
        made = ((fill - np.asarray(self.mean)) / np.asarray(self.std)).astype(np.float32)
        return made[::-1] if self.bgr else made

    @property
    def pixels(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and deviation of pixels of 0 … 255."""
        return tuple(255 * v for v in self.mean), tuple(255 * v for v in self.std)

    def apply(self, images: tf.Tensor) -> tf.Tensor:
        """Standardises `images`, any dtype with values 0 … 255, (…, channels). Float32."""
        made = tf.cast(images, tf.float32) * self.scale + self.offset
        return made[..., ::-1] if self.bgr else made

    def undo(self, images: Sequence | np.ndarray) -> np.ndarray:
        """The pixels, uint8 0 … 255, of standardised `images` (…, channels)."""
        made = np.asarray(images)[..., ::-1] if self.bgr else np.asarray(images)
        return np.clip(np.rint((made - self.offset) / self.scale), 0, 255).astype(np.uint8)

    def of_pixels(
        self,
        pixels: str = STANDARDIZED,
        pixel_mean: Sequence[float] = (),
        pixel_std: Sequence[float] = (),
    ) -> Normalization:
        """What a network is given that wants other pixels than these of the data's own.

        Args:
            pixels: One of `keras_nas.data.pixels.PIXELS`.
            pixel_mean, pixel_std: In its place: a pixel v of 0 … 255 enters as
                (v − pixel_mean) / pixel_std; one number, or one for each channel.

        Returns:
            Itself for standardised pixels; else one whose padding is still the data's mean.

        Raises:
            UsageError: As `pixel_range`, or the range is for another number of channels.
        """
        wanted = pixel_range(pixels, pixel_mean, pixel_std)
        if wanted is None:
            return self
        channels = len(self.mean)
        for numbers in (wanted.mean, wanted.std):
            if len(numbers) not in (1, channels):
                name = f"{pixels!r}" if not pixel_std else "by numbers"
                raise UsageError(
                    f"`pixels` {name} is for pictures of {len(numbers)} channels. "
                    f"Received: pictures of {channels}"
                )

        def shares(numbers: tuple[float, ...]) -> tuple[float, ...]:
            return tuple(n / 255.0 for n in numbers * (channels if len(numbers) == 1 else 1))

        return Normalization(shares(wanted.mean), shares(wanted.std), wanted.bgr, self.mean)


def normalization_of(images: np.ndarray) -> Normalization:
    """Mean and deviation of each channel of uint8 (N, height, width, channels), to four digits.

    A channel that is the same everywhere gets the deviation of one step of the 255.
    """
    mean, square = np.zeros(images.shape[-1]), np.zeros(images.shape[-1])
    for image in images:
        pixels = image.reshape(-1, images.shape[-1]) / 255.0
        mean += pixels.mean(axis=0) / len(images)
        square += np.square(pixels).mean(axis=0) / len(images)
    deviation = np.sqrt(np.maximum(square - np.square(mean), 255.0**-2))
    return Normalization(tuple(mean.round(4).tolist()), tuple(deviation.round(4).tolist()))
