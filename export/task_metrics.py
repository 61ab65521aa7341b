"""The task metrics that parity reports, as functions of all targets and outputs."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf


def top1(targets: np.ndarray, outputs: np.ndarray) -> float:
    """Share of samples whose class has the largest output, in percent; ties count against it.

    Args:
        targets: classes `(n,)` or `(n, 1)`, or one-hot `(n, classes)`.
        outputs: `(n, classes)`.
    """
    if targets.ndim == 2 and targets.shape[1] == outputs.shape[1]:
        targets = np.argmax(targets, -1)
    own = np.take_along_axis(outputs, targets.reshape(-1, 1).astype(int), axis=-1)
    return 100 * float(np.mean((outputs >= own).sum(axis=-1) == 1))


def psnr(targets: np.ndarray, outputs: np.ndarray) -> float:
    """Mean peak signal-to-noise ratio in dB of pictures `(n, h, w, c)` in [0, 1]."""
    clipped = np.clip(outputs, 0.0, 1.0)
    return float(np.mean(tf.image.psnr(targets.astype(clipped.dtype), clipped, max_val=1.0)))


def mean_iou(targets: np.ndarray, outputs: np.ndarray) -> float:
    """Mean intersection over union of the classes, in percent.

    Args:
        targets: classes `(n, h, w)` or `(n, h, w, 1)`.
        outputs: `(n, h, w, classes)`.
    """
    metric = keras.metrics.MeanIoU(outputs.shape[-1])
    metric.update_state(targets.reshape(outputs.shape[:-1]), np.argmax(outputs, -1))
    return 100 * float(metric.result())


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "top1": top1,
    "psnr": psnr,
    "mean_iou": mean_iou,
}
