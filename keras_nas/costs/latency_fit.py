"""Fitting ms = a · flops + b to measured points (FGNAS, the latency model), tile by tile."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from keras_nas.errors import UsageError

TILES = (1, 4, 8, 16, 32)
"""Output channels that a kernel may compute at once."""
_GAIN = 0.8
"""The share of the squared residuals that a larger tile may leave at most to be believed."""
_EXACT = 1e-9
"""Squared residuals that are none."""


@dataclasses.dataclass(frozen=True)
class Point:
    """One measured operation: its channels, its work (`Condition.flops`) and its time."""

    in_channels: int
    out_channels: int
    flops: int
    ms: float


@dataclasses.dataclass(frozen=True)
class Fit:
    """ms = slope · flops + intercept, with the flops of the next multiple of `tile` channels.

    Attributes:
        slope: Milliseconds a flop, 0 or more.
        intercept: Milliseconds, 0 or more.
        points: How many points it was made from.
        rms_ms: Root of the mean squared residual.
        worst: The largest residual as a share of its point's time.
        tile: Output channels that are computed at once; fewer take as long.
    """

    slope: float
    intercept: float
    points: int
    rms_ms: float
    worst: float
    tile: int = 1

    def __call__(self, flops: float, out_channels: int = 0) -> float:
        """Returns the milliseconds for this work.

        Args:
            flops: As `Condition.flops` has it.
            out_channels: Those that it makes; 0 for a multiple of `tile`.
        """
        return self.slope * filled(flops, out_channels, self.tile) + self.intercept

    def times(self, factor: float) -> Fit:
        """Returns the fit of points whose times are so many times as long."""
        return dataclasses.replace(
            self,
            slope=factor * self.slope,
            intercept=factor * self.intercept,
            rms_ms=factor * self.rms_ms,
        )


def filled(flops: float, out_channels: int, tile: int) -> float:
    """The work of the next multiple of `tile` output channels.

    Worked example: 30 flops that make 3 channels, 8 at once, take the time of 80.
    """
    if not out_channels:
        return flops
    return flops * (-(-out_channels // tile) * tile) / out_channels


def fit(points: Sequence[Point], tiles: Sequence[int] = (1,)) -> Fit:
    """Fits the line that has the least squared relative residuals, with neither part below 0.

    Relative, since the points of one condition span two orders of magnitude, and a search needs
    the narrow layers as right as the wide ones. With one work only, the line passes through the
    origin. A larger tile is taken where it leaves clearly less than the one before.

    Args:
        points: What was measured.
        tiles: What the tile may be, ascending.

    Raises:
        KerasNasError: There is no point, or a time or work is not above 0.
    """
    if not points:
        raise UsageError("`points` must hold a point or more. Received: points=[]")
    if any(point.flops <= 0 or not point.ms > 0 for point in points):
        raise UsageError(f"`points` must have flops and ms above 0. Received: {list(points)}")
    best, least = _fit_with(points, tiles[0])
    for tile in tiles[1:]:
        found, squares = _fit_with(points, tile)
        if squares < _GAIN * least - _EXACT:
            best, least = found, squares
    return best


def _fit_with(points: Sequence[Point], tile: int) -> tuple[Fit, float]:
    """The fit with this tile, and the sum of its squared relative residuals."""
    works = [filled(point.flops, point.out_channels, tile) for point in points]
    flops = np.array(works, np.float64)
    ms = np.array([point.ms for point in points], np.float64)
    slope, intercept = _line(flops / ms, 1 / ms, alone=len(set(works)) == 1)
    residuals = slope * flops + intercept - ms
    relative = residuals / ms
    found = Fit(
        slope,
        intercept,
        len(points),
        float(np.sqrt(np.mean(residuals**2))),
        float(np.max(np.abs(relative))),
        tile,
    )
    return found, float(relative @ relative)


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
