"""Quality against cost over several runs, with the papers' rows beside them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from keras_nas.reporting.paper_rows import PaperRow
from keras_nas.reporting.quality import Quality
from keras_nas.reporting.tables import format_count

OURS, ORIGINAL, PAPER = "#1f6fb4", "#3b4754", "#a9b4c0"
MARKERS = "^sDvPX*<>"
LEAST_STEPS = 100
"""Least height of the plot, in steps of the metric's last digit."""


@dataclasses.dataclass(frozen=True)
class Point:
    """A network in the plane.

    Attributes:
        label: What it is called in the table below the plot.
        macs: Multiply-adds.
        quality: The metric's stored value; higher is better.
        is_original: Whether it is a network that nothing was taken from.
        params: Weights; 0 where unknown.
    """

    label: str
    macs: float
    quality: float
    is_original: bool = False
    params: float = 0.0


def front(points: Sequence[Point]) -> list[Point]:
    """The points that no other one beats in both, cheapest first.

    >>> a, b, c = Point("a", 1, 0.5), Point("b", 2, 0.4), Point("c", 3, 0.6)
    >>> [point.label for point in front([c, b, a])]
    ['a', 'c']
    """
    kept: list[Point] = []
    for point in sorted(points, key=lambda point: (point.macs, -point.quality)):
        if not kept or point.quality > kept[-1].quality:
            kept.append(point)
    return kept


def pareto_plot(
    points: Sequence[Point], quality: Quality, references: Sequence[PaperRow] = ()
) -> Figure:
    """Draws the points, numbered from 1 in their order, and the line of the unbeaten ones.

    Args:
        points: Networks of the runs.
        quality: What the vertical axis shows.
        references: Rows of papers on the same data; only with top-1.
    """
    figure = Figure(figsize=(9.0, 5.2), layout="constrained")
    axes = figure.add_subplot()
    _draw_references(axes, quality, references)
    line = front(points)
    axes.plot(
        [point.macs for point in line], [quality.factor * point.quality for point in line],
        color=OURS, linewidth=1.2, zorder=2,
    )  # fmt: skip
    for is_original, color, label in ((True, ORIGINAL, "original"), (False, OURS, "found")):
        chosen = [point for point in points if point.is_original == is_original]
        if chosen:
            axes.scatter(
                [point.macs for point in chosen],
                [quality.factor * point.quality for point in chosen],
                s=190, color=color, edgecolor="white", label=label, zorder=3,
            )  # fmt: skip
    for number, point in enumerate(points, start=1):
        axes.annotate(
            str(number), (point.macs, quality.factor * point.quality), color="white",
            ha="center", va="center", fontsize=8, fontweight="bold", zorder=4,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_count(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", labelsize=8)
    axes.margins(0.08)
    _widen(axes, LEAST_STEPS * 10.0**-quality.digits)
    axes.set_xlabel("multiply-adds (log scale)")
    axes.set_ylabel(quality.label)
    axes.grid(color="#e6eaee", zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(
        frameon=False,
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
        fontsize=9,
        markerscale=0.6,
    )
    return figure


def _widen(axes, least: float) -> None:
    """Lets the vertical axis span at least so much: a hair's difference must not fill it."""
    low, high = axes.get_ylim()
    lack = max(0.0, least - (high - low))
    axes.set_ylim(low - lack / 2, high + lack / 2)


def _draw_references(axes, quality: Quality, references: Sequence[PaperRow]) -> None:
    groups = sorted({(row.method.split(":")[0], row.network) for row in references})
    for index, (method, network) in enumerate(groups):
        rows = [
            row
            for row in references
            if row.network == network and row.method.split(":")[0] == method
        ]
        axes.scatter(
            [row.macs for row in rows], [quality.factor * row.top1 for row in rows],
            marker=MARKERS[index % len(MARKERS)], color=PAPER, s=40, zorder=1,
            label=f"{method}, {network} (printed)",
        )  # fmt: skip
