"""Fitting ms = a · flops + b to measured points (FGNAS, the latency model)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from keras_nas.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Point:
    """One measured operation: its channels, its work (`Condition.flops`) and its time."""

    in_channels: int
    out_channels: int
    flops: int
    ms: float


@dataclasses.dataclass(frozen=True)
class Fit:
    """ms = slope · flops + intercept.

    Attributes:
        slope: Milliseconds a flop, 0 or more.
        intercept: Milliseconds, 0 or more.
        points: How many points it was made from.
        rms_ms: Root of the mean squared residual.
        worst: The largest residual as a share of its point's time.
    """

    slope: float
    intercept: float
    points: int
    rms_ms: float
    worst: float

    def __call__(self, flops: float) -> float:
        """Returns the milliseconds for this work."""
        return self.slope * flops + self.intercept

    def times(self, factor: float) -> Fit:
        """Returns the fit of points whose times are so many times as long."""
        return dataclasses.replace(
            self,
            slope=factor * self.slope,
            intercept=factor * self.intercept,
            rms_ms=factor * self.rms_ms,
        )


def fit(points: Sequence[Point]) -> Fit:
    """Fits the line that has the least squared relative residuals, with neither part below 0.

    Relative, since the points of one condition span two orders of magnitude, and a search needs
    the narrow layers as right as the wide ones. With one work only, the line passes through the
    origin.

    Raises:
        KerasNasError: There is no point, or a time or work is not above 0.
    """
    if not points:
        raise UsageError("`points` must hold a point or more. Received: points=[]")
    if any(point.flops <= 0 or not point.ms > 0 for point in points):
        raise UsageError(f"`points` must have flops and ms above 0. Received: {list(points)}")
    flops = np.array([point.flops for point in points], np.float64)
    ms = np.array([point.ms for point in points], np.float64)
    slope, intercept = _line(flops / ms, 1 / ms, alone=len(set(flops)) == 1)
    residuals = slope * flops + intercept - ms
    return Fit(
        slope,
        intercept,
        len(points),
        float(np.sqrt(np.mean(residuals**2))),
        float(np.max(np.abs(residuals) / ms)),
    )


def _line(x: np.ndarray, y: np.ndarray, alone: bool) -> tuple[float, float]:
    """Minimises Σ (a·x + b·y − 1)² over a, b ≥ 0; over a only if `alone`."""
    only_slope = float(x.sum() / (x @ x))
    if alone:
        return only_slope, 0.0
    scale = float(x.max())
    design = np.stack([x / scale, y], axis=1)
    (slope, intercept), *_ = np.linalg.lstsq(design, np.ones_like(x), rcond=None)
    if intercept < 0:
        return only_slope, 0.0
    if slope < 0:
        return 0.0, float(y.sum() / (y @ y))
    return float(slope / scale), float(intercept)
