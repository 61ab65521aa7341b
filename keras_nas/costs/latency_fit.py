"""Fitting ms = a · flops + b to measured points (FGNAS, the latency model), with tiles and ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.optimize import nnls

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


Ends = Callable[[Point, int], int]
"""How often a point ends amid a vector, with a tile; see `Condition.ends`."""


@dataclasses.dataclass(frozen=True)
class Fit:
    """ms = slope · flops + end · ends + intercept, the flops those of whole tiles of channels.

    Attributes:
        slope: Milliseconds a flop, 0 or more.
        intercept: Milliseconds, 0 or more.
        points: How many points it was made from.
        rms_ms: Root of the mean squared residual.
        worst: The largest residual as a share of its point's time.
        tile: Output channels that are computed at once; fewer take as long.
        end: Milliseconds of each of `Condition.ends`, 0 or more.
    """

    slope: float
    intercept: float
    points: int
    rms_ms: float
    worst: float
    tile: int = 1
    end: float = 0.0

    def __call__(self, flops: float, out_channels: int = 0, ends: int = 0) -> float:
        """Returns the milliseconds for this work.

        Args:
            flops: As `Condition.flops` has it.
            out_channels: Those that it makes; 0 for a multiple of `tile`.
            ends: As `Condition.ends` has it of them and `tile`.
        """
        work = self.slope * filled(flops, out_channels, self.tile)
        return work + self.end * ends + self.intercept

    def times(self, factor: float) -> Fit:
        """Returns the fit of points whose times are so many times as long."""
        return dataclasses.replace(
            self,
            slope=factor * self.slope,
            intercept=factor * self.intercept,
            rms_ms=factor * self.rms_ms,
            end=factor * self.end,
        )


def filled(flops: float, out_channels: int, tile: int) -> float:
    """The work of the next multiple of `tile` output channels.

    Worked example: 30 flops that make 3 channels, 8 at once, take the time of 80.
    """
    if not out_channels:
        return flops
    return flops * (-(-out_channels // tile) * tile) / out_channels


def fit(
    points: Sequence[Point], tiles: Sequence[int] = (1,), ends: Ends = lambda point, tile: 0
) -> Fit:
    """Fits what has the least squared relative residuals, with no part below 0.

    Relative, since the points of one condition span two orders of magnitude, and a search needs
    the narrow layers as right as the wide ones. With one work only, the line passes through the
    origin. A larger tile is taken where it leaves clearly less than the one before; without tiles
    (a tile of 1) nothing ends amid a vector, nor is it told where all points do or none.

    Args:
        points: What was measured.
        tiles: What the tile may be, ascending.
        ends: How often a point ends amid a vector, with a tile.

    Raises:
        KerasNasError: There is no point, or a time or work is not above 0.
    """
    if not points:
        raise UsageError("`points` must hold a point or more. Received: points=[]")
    if any(point.flops <= 0 or not point.ms > 0 for point in points):
        raise UsageError(f"`points` must have flops and ms above 0. Received: {list(points)}")
    best, least = _fit_with(points, tiles[0], ends)
    for tile in tiles[1:]:
        found, squares = _fit_with(points, tile, ends)
        if squares < _GAIN * least - _EXACT:
            best, least = found, squares
    return best


def _fit_with(points: Sequence[Point], tile: int, ends: Ends) -> tuple[Fit, float]:
    """The fit with this tile, and the sum of its squared relative residuals."""
    works = [filled(point.flops, point.out_channels, tile) for point in points]
    ms = np.array([point.ms for point in points], np.float64)
    columns = {"slope": np.array(works, np.float64)}
    if len(set(works)) > 1:
        columns["intercept"] = np.ones_like(ms)
    ended = np.array([ends(point, tile) for point in points], np.float64)
    if tile > 1 and ended.any() and not ended.all():
        columns["end"] = ended
    parts = _least_squares(columns, ms)
    residuals = sum(parts[name] * column for name, column in columns.items()) - ms
    relative = residuals / ms
    found = Fit(
        parts["slope"],
        parts.get("intercept", 0.0),
        len(points),
        float(np.sqrt(np.mean(residuals**2))),
        float(np.max(np.abs(relative))),
        tile,
        parts.get("end", 0.0),
    )
    return found, float(relative @ relative)


def _least_squares(columns: Mapping[str, np.ndarray], ms: np.ndarray) -> dict[str, float]:
    """Minimises Σ (Σ part · column / ms − 1)² over parts of 0 or more, by the column's name."""
    scales = {name: float(column.max()) for name, column in columns.items()}
    design = np.stack([columns[name] / scales[name] / ms for name in columns], axis=1)
    parts, _ = nnls(design, np.ones_like(ms))
    return {name: float(part / scales[name]) for name, part in zip(columns, parts, strict=True)}
