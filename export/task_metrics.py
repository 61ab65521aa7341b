"""The task metrics that parity reports, as functions of all targets and outputs."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf


def top1(targets: np.ndarray, outputs: np.ndarray) -> float:
    """Share of samples whose class is right, in percent; ties count against it.

    Args:
        targets: Classes `(n,)` or `(n, 1)`, or one-hot `(n, classes)`.
        outputs: Scores `(n, classes)`, of which the largest tells the class; classes `(n,)` or
            `(n, 1)` as integers; or one score `(n, 1)`, class 1 above 0.5, or above 0 where the
            scores leave [0, 1].
    """
    if targets.ndim == 2 and targets.shape[1] > 1:
        targets = np.argmax(targets, -1)
    if _are_classes(outputs):
        return 100 * float(np.mean(outputs.reshape(-1) == targets.reshape(-1)))
    if outputs.ndim == 1 or outputs.shape[1:] == (1,):
        scores = outputs.reshape(-1)
        inside = bool(np.all((scores >= 0) & (scores <= 1)))
        border, wanted = 0.5 if inside else 0.0, targets.reshape(-1) > 0.5
        return 100 * float(np.mean(np.where(wanted, scores > border, scores < border)))
    own = np.take_along_axis(outputs, targets.reshape(-1, 1).astype(int), axis=-1)
    return 100 * float(np.mean((outputs >= own).sum(axis=-1) == 1))


def _are_classes(outputs: np.ndarray) -> bool:
    return outputs.dtype.kind in "biu" and outputs.shape[1:] in ((), (1,))


def psnr(targets: np.ndarray, outputs: np.ndarray) -> float:
    """Mean peak signal-to-noise ratio in dB of images `(n, h, w, c)` in [0, 1]."""
    clipped = np.clip(outputs, 0.0, 1.0)
    return float(np.mean(tf.image.psnr(targets.astype(clipped.dtype), clipped, max_val=1.0)))


def mean_iou(targets: np.ndarray, outputs: np.ndarray) -> float:
    """Mean intersection over union of the classes, in percent.

    Args:
        targets: Classes `(n, h, w)` or `(n, h, w, 1)`.
        outputs: Scores `(n, h, w, classes)`, or classes `(n, h, w)` as integers.
    """
    if outputs.dtype.kind in "biu":
        classes = outputs.reshape(targets.shape)
        count = int(max(targets.max(), classes.max())) + 1
    else:
        classes, count = np.argmax(outputs, -1), outputs.shape[-1]
    metric = keras.metrics.MeanIoU(count)
    metric.update_state(targets.reshape(classes.shape), classes)
    return 100 * float(metric.result())


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "top1": top1,
    "psnr": psnr,
    "mean_iou": mean_iou,
}
