"""Benchmark results as a table on the terminal and as a bar chart."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from export.accelerators.coverage import NAMES, of
from export.benchmark_schema import BenchmarkReport, BenchmarkResult
from keras_nas.files import atomic_path

_ARITHMETIC = re.compile(r"conv|fully.connected", re.IGNORECASE)
_HEADS = {"xnnpack": "xnn-\npack", "gpu": "gpu", "nnapi": "nnapi"}
_COLORS = ("tab:blue", "tab:orange", "tab:green", "tab:red")


def results_table(report: BenchmarkReport) -> Table:
    """One row for each model and number of threads.

    The speed-up is the ratio of medians to the first model measured with the same threads. "peak"
    is by how much loading and running the model raises the process's memory. An accelerator's
    column says "whole", or how many nodes it takes and in how many partitions; one that no result
    knows of is left out.
    """
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0, header_style="bold")
    table.add_column("model", min_width=16, overflow="fold")
    for name in (
        "thr.",
        "median\nms",
        "p90\nms",
        "min\nms",
        "speed-\nup",
        "size\nMB",
        "peak\nMB",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    known = {one.accelerator for result in report.results for one in result.coverage}
    accelerators = [name for name in NAMES if name in known]
    for name in accelerators:
        table.add_column(_HEADS[name], justify="right", no_wrap=True)
    for result in report.results:
        found = [of(result.coverage, name) for name in accelerators]
        table.add_row(
            label(result, report.results),
            str(result.threads),
            _milliseconds(result.median_ms),
            _milliseconds(result.p90_ms),
            _milliseconds(result.min_ms),
            speed_up_text(result, report.results),
            f"{result.model.size_bytes / 1e6:.3f}",
            f"{result.peak_memory_bytes / 1e6:.1f}" if result.peak_memory_bytes else "",
            *(one.short.replace(" in ", "\nin ") if one else "" for one in found),
        )
    return table


def coverage_lines(report: BenchmarkReport) -> list[str]:
    """A line for each file and accelerator that does not take the file whole, with the reasons."""
    lines = {
        f"{label(result, report.results)}: {one}"
        for result in report.results
        for one in result.coverage
        if not one.is_whole
    }
    return sorted(lines)


def profile_table(result: BenchmarkResult, rows: int = 10) -> Table:
    """The operations that take most of a model's time, summed by type."""
    sums: dict[str, tuple[int, float, float]] = {}
    for operation in result.profile:
        count, time, share = sums.get(operation.type, (0, 0.0, 0.0))
        sums[operation.type] = (count + 1, time + operation.avg_ms, share + operation.share)
    table = Table(
        title=f"{Path(result.model.path).name}, {result.threads} thread(s)", header_style="bold"
    )
    table.add_column("operation")
    for name in ("count", "ms", "share"):
        table.add_column(name, justify="right")
    ordered = sorted(sums.items(), key=lambda item: -item[1][1])
    for kind, (count, time, share) in ordered[:rows]:
        table.add_row(kind, str(count), f"{time:.3f}", f"{share:.1%}")
    return table


def arithmetic_text(result: BenchmarkResult, macs: int) -> str:
    """How fast a model's arithmetic runs, by its profile.

    Example: "65.2 G macs/s, 9.6% of the time elsewhere".

    Args:
        result: A measurement with a profile.
        macs: Multiply-adds of the model's convolutions and Dense layers.
    """
    busy = [op for op in result.profile if _ARITHMETIC.search(op.type)]
    milliseconds = sum(op.avg_ms for op in busy)
    if not milliseconds:
        return "no profile"
    elsewhere = 1 - sum(op.share for op in busy)
    return f"{macs / milliseconds / 1e6:.1f} G macs/s, {abs(elsewhere):.1%} of the time elsewhere"


def draw_chart(report: BenchmarkReport, path: str | os.PathLike[str]) -> None:
    """Draws the medians as bars, with a line up to the 90th percentile, one colour a thread count.

    The file's suffix chooses the format: .png, .svg or .pdf.
    """
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(label(result, report.results) for result in report.results))
    threads = list(dict.fromkeys(result.threads for result in report.results))
    figure = Figure(figsize=(8, 1.2 + 0.5 * len(names) * max(1, len(threads))))
    axes = figure.add_subplot()
    height = 0.8 / max(1, len(threads))
    for place, count in enumerate(threads):
        group = [result for result in report.results if result.threads == count]
        rows = [
            names.index(label(result, report.results)) + (place - (len(threads) - 1) / 2) * height
            for result in group
        ]
        medians = [result.central_ms for result in group]
        above = [max(0.0, (result.p90_ms or 0.0) - result.central_ms) for result in group]
        axes.barh(
            rows,
            medians,
            height,
            xerr=[[0.0] * len(group), above],
            color=_COLORS[place % len(_COLORS)],
            label=f"{count} thread{'s' if count > 1 else ''}",
        )
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    if report.results:
        axes.set_xlim(0, 1.6 * max(result.central_ms for result in report.results))
    axes.set_xlabel("median ms (line: up to the 90th percentile)")
    if threads:
        axes.legend()
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary)


def label(result: BenchmarkResult, results: Sequence[BenchmarkResult]) -> str:
    """Returns the file's name; its whole path where another file has the same name."""
    name = Path(result.model.path).name
    paths = {other.model.path for other in results if Path(other.model.path).name == name}
    return name if len(paths) == 1 else result.model.path


def speed_up(result: BenchmarkResult, results: Sequence[BenchmarkResult]) -> float:
    """Returns how many times faster a result is than the first one with the same threads."""
    first = next(other for other in results if other.threads == result.threads)
    return first.central_ms / result.central_ms


def speed_up_text(result: BenchmarkResult, results: Sequence[BenchmarkResult]) -> str:
    """As `speed_up`, for a table."""
    return f"{speed_up(result, results):.2f}×"


def _milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
