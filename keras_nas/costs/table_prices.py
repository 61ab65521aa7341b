"""The prices of joins on the device that a latency table is of."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

from absl import logging

from keras_nas.costs.align_prices import KERNELS, AlignPrices
from keras_nas.costs.latency_condition import Condition
from keras_nas.costs.latency_fit import Fit, Point
from keras_nas.errors import KerasNasError

CUT_WORK = 8.0
"""The work that a partition is timed with."""
MOVED = ("gather", "pad", "slice", "elementwise")


class Times(Protocol):
    """What prices are read off: a `LatencyTable`, which itself assumes times by them."""

    device: str
    runtime: str

    @property
    def points(self) -> Mapping[Condition, Sequence[Point]]:
        """The measured points of each condition."""

    @property
    def fits(self) -> Mapping[Condition, Fit]:
        """The lines through them."""


def align_prices_of(table: Times, dtype: str = "float32", threads: int = 1) -> AlignPrices:
    """The prices of joins on the device that a latency table is of, for `surgery.build`.

    An element or a multiply-add has the mean slope of its operation's fits, each weighed by the
    work that was measured; a partition the least of its fits, the tile is the one that most fits of
    convolutions have. What was not measured keeps the default's ratio to the first kind of kernel
    that was, and `source` says so.

    Args:
        table: A `LatencyTable` with a kind of kernel at least, as `apps.profile_latency` measures.
        dtype, threads: Of the times.

    Raises:
        KerasNasError: The table has no kernel of that dtype and those threads.
    """
    fits = {
        condition: found
        for condition, found in table.fits.items()
        if (condition.dtype, condition.threads) == (dtype, threads)
    }
    default, found = AlignPrices(), dict[str, float]()
    for kind in (*MOVED, *KERNELS):
        chosen = [condition for condition in fits if _kind(condition) == kind]
        if chosen:
            found[kind] = _slope(table, fits, chosen) * (2 if kind in KERNELS else 1)
    measured = [kind for kind in KERNELS if found.get(kind)]
    if not measured:
        raise KerasNasError(
            f"The latency table of {table.device} ({table.runtime}) must have times of a "
            f"convolution or dense layer in {dtype} on {threads} threads, to price joins by: "
            "profile a network with `apps.profile_latency`."
        )
    cuts = [fit(CUT_WORK) for c, fit in fits.items() if c.operation == "partition"]
    if cuts:
        found["partition"] = 1e6 * min(cuts)
    scale = found[measured[0]] / default.of(measured[0])
    every = (*MOVED, "partition", *KERNELS)
    missing = ", ".join(kind for kind in every if kind not in found)
    source = f"{table.device}, {table.runtime}, {dtype}, {threads} threads"
    return AlignPrices(
        **{kind: found.get(kind, scale * default.of(kind)) for kind in every},
        tile=_tile(fits),
        source=f"{source}; {missing} by the ratios of {default.source}" if missing else source,
    )


def assumed_fit(table: Times, condition: Condition) -> Fit:
    """The time of a gather, slice, pad or partition that a table has no time of.

    Raises:
        KerasNasError: As `align_prices_of`.
    """
    prices = align_prices_of(table, condition.dtype, condition.threads)
    logging.log_first_n(
        logging.WARNING, "The latency table of %s has no %s: taking %.3g ns an element.", 4,
        table.device, condition.operation, prices.of(condition.operation),
    )  # fmt: skip
    milliseconds = 1e-6 * prices.of(condition.operation)
    if condition.operation == "partition":
        return Fit(0.0, milliseconds, 1, 0.0, 0.0)
    return Fit(milliseconds, 0.0, 1, 0.0, 0.0)


def _kind(condition: Condition) -> str:
    """The attribute of `AlignPrices` that an operation's time counts for; else empty."""
    if condition.operation == "conv":
        if condition.groups > 1:
            return ""
        return "pointwise" if condition.kernel == (1, 1) else "conv"
    if condition.operation == "pad" and condition.kernel != (1, 1):
        return ""
    kinds = {"depthwise_conv": "depthwise", "add": "elementwise", "relu": "elementwise"}
    same = {kind: kind for kind in ("gather", "pad", "slice", "dense")}
    return {**kinds, **same}.get(condition.operation, "")


def _slope(table: Times, fits: dict[Condition, Fit], chosen: list[Condition]) -> float:
    """Nanoseconds of one more unit of work."""
    works = [sum(point.flops for point in table.points[condition]) for condition in chosen]
    weighed = math.fsum(fits[c].slope * work for c, work in zip(chosen, works, strict=True))
    return 1e6 * weighed / sum(works)


def _tile(fits: dict[Condition, Fit]) -> int:
    """The tile of most convolutions, of equally many the larger; the default's without one."""
    found = Counter(fit.tile for c, fit in fits.items() if _kind(c) in ("conv", "pointwise"))
    if not found:
        return AlignPrices().tile
    return max(found, key=lambda tile: (found[tile], tile))
