"""PSNR and SSIM as super-resolution papers measure them: on luma, with the border shaved.

A prediction is first clipped and rounded to the 8 bits in which it would be saved. Luma is the Y of
BT.601 YCbCr as MATLAB's `rgb2ycbcr` has it, 16 to 235, kept in floating point; both measures take
255 as the peak. A colour image has 3 channels; an image of 1 channel is its own luma.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from keras_nas.errors import KerasNasError

_PEAK = 255.0
_SSIM_WINDOW = 11
_MOST_DB = 100.0


def rgb_to_y(images: tf.Tensor) -> tf.Tensor:
    """Luma of BT.601: Y = 16 + (65.481 R + 128.553 G + 24.966 B) / 255.

    Args:
        images: Shape (…, 3), RGB in 0 … 255, any real dtype.

    Returns:
        float32 of shape (…, 1), in 16 … 235.
    """
    weights = tf.constant([65.481, 128.553, 24.966]) / 255.0
    return 16.0 + tf.reduce_sum(tf.cast(images, tf.float32) * weights, axis=-1, keepdims=True)


def psnr_y(
    y_true: tf.Tensor, y_pred: tf.Tensor, shave: int = 0, value_range: float = 1.0
) -> tf.Tensor:
    """Peak signal-to-noise ratio on luma, in dB, one an image; infinite for equal images.

    Args:
        y_true, y_pred: Shape (batch, height, width, 1 or 3), in 0 … `value_range`.
        shave: Pixels left out at each border; papers take the scale.
        value_range: The value of white, 1 or 255.

    Returns:
        float32 of shape (batch,).

    Raises:
        KerasNasError: The images have neither 1 nor 3 channels.
    """
    truth, prediction = _luma_pair(y_true, y_pred, shave, value_range)
    return tf.image.psnr(truth, prediction, max_val=_PEAK)


def ssim_y(
    y_true: tf.Tensor, y_pred: tf.Tensor, shave: int = 0, value_range: float = 1.0
) -> tf.Tensor:
    """Structural similarity on luma, one an image, in -1 … 1.

    Gaussian window of 11 × 11 and σ = 1.5, K1 = 0.01, K2 = 0.03, mean over the windows that lie
    wholly inside (Wang et al., Image Quality Assessment, 2004).

    Args:
        y_true, y_pred: Shape (batch, height, width, 1 or 3), in 0 … `value_range`; 11 pixels or
            more a side must be left after shaving.
        shave: Pixels left out at each border; papers take the scale.
        value_range: The value of white, 1 or 255.

    Returns:
        float32 of shape (batch,).

    Raises:
        KerasNasError: The images have neither 1 nor 3 channels.
        tf.errors.InvalidArgumentError: Fewer than 11 pixels are left.
    """
    truth, prediction = _luma_pair(y_true, y_pred, shave, value_range)
    return tf.image.ssim(truth, prediction, max_val=_PEAK, filter_size=_SSIM_WINDOW)


class _LumaMean(keras.metrics.Mean):
    """Mean over images of one of the measures above."""

    measure: Callable[..., tf.Tensor]

    def __init__(self, scale: int = 2, value_range: float = 1.0, name: str | None = None, **kwargs):
        super().__init__(name=name, **kwargs)
        self.scale = scale
        self.value_range = value_range

    def update_state(self, y_true, y_pred, sample_weight=None):
        values = type(self).measure(y_true, y_pred, self.scale, self.value_range)
        values = tf.minimum(values, _MOST_DB)
        super().update_state(values, sample_weight=sample_weight)

    def get_config(self):
        return {**super().get_config(), "scale": self.scale, "value_range": self.value_range}


@keras.saving.register_keras_serializable(package="keras_nas")
class PsnrY(_LumaMean):
    """Mean over images of `psnr_y` with a border of `scale` pixels shaved, in dB.

    An image counts 100 dB at most, so that one without any error (a black patch) does not make the
    mean infinite.

    Args:
        scale: Enlargement of the task, and the pixels shaved at each border.
        value_range: The value of white, 1 or 255.
        name: Of the metric.
    """

    measure = staticmethod(psnr_y)

    def __init__(self, scale: int = 2, value_range: float = 1.0, name: str = "psnr_y", **kwargs):
        super().__init__(scale=scale, value_range=value_range, name=name, **kwargs)


@keras.saving.register_keras_serializable(package="keras_nas")
class SsimY(_LumaMean):
    """Mean over images of `ssim_y` with a border of `scale` pixels shaved.

    Args:
        scale: Enlargement of the task, and the pixels shaved at each border.
        value_range: The value of white, 1 or 255.
        name: Of the metric.
    """

    measure = staticmethod(ssim_y)

    def __init__(self, scale: int = 2, value_range: float = 1.0, name: str = "ssim_y", **kwargs):
        super().__init__(scale=scale, value_range=value_range, name=name, **kwargs)


def _luma_pair(y_true, y_pred, shave: int, value_range: float) -> tuple[tf.Tensor, tf.Tensor]:
    return _luma(y_true, shave, value_range), _luma(y_pred, shave, value_range)


def _luma(images, shave: int, value_range: float) -> tf.Tensor:
    images = tf.cast(images, tf.float32) * (_PEAK / value_range)
    images = tf.round(tf.clip_by_value(images, 0.0, _PEAK))
    channels = images.shape[-1]
    if channels not in (1, 3):
        raise KerasNasError(
            "Images must have 1 or 3 channels, the last axis. "
            f"Received: shape {tuple(images.shape)}"
        )
    if shave:
        images = images[:, shave:-shave, shave:-shave]
    return images if channels == 1 else rgb_to_y(images)
