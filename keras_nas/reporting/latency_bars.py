"""Bars of measured latencies, a model and device each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

MEDIAN, SPREAD = "#1f6fb4", "#3b4754"


def latency_bars(results: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws the median of each measurement, and a whisker from the fastest to the 90th percentile.

    Args:
        results: Entries of a benchmark's JSON: `model.path`, `device.name`, `runtime`, `threads`,
            `median_ms`, `min_ms`, `p90_ms`.
    """
    figure = Figure(figsize=(9.0, 0.62 * len(results) + 1.3), layout="constrained")
    axes = figure.add_subplot()
    places = range(len(results))
    medians = [result["median_ms"] for result in results]
    below = [result["median_ms"] - result["min_ms"] for result in results]
    above = [result["p90_ms"] - result["median_ms"] for result in results]
    axes.barh(places, medians, height=0.55, color=MEDIAN)
    axes.errorbar(
        medians, places, xerr=[below, above], fmt="none", ecolor=SPREAD, capsize=3, linewidth=1
    )
    for place, result in enumerate(results):
        axes.annotate(
            f"{result['median_ms']:.3f} ms", (result["p90_ms"], place),
            xytext=(6, 0), textcoords="offset points", va="center", fontsize=9,
        )  # fmt: skip
    axes.set_yticks(places, [_label(result) for result in results], fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.18 * max(result["p90_ms"] for result in results))
    axes.set_xlabel("ms an inference: median; whiskers from the fastest to the 90th percentile")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _label(result: Mapping[str, Any]) -> str:
    device, runtime = result["device"], result["runtime"]
    threads = f"{result['threads']} thread" + ("s" if result["threads"] != 1 else "")
    return (
        f"{Path(result['model']['path']).name}\n{device['name']}, {runtime['delegate']}, {threads}"
    )
