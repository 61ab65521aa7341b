"""Measuring a grid of operations on this host or on a phone, into a latency table."""

from __future__ import annotations

import dataclasses
import itertools
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from absl import logging

from export import host_benchmark
from export.android import benchmark as android_benchmark
from export.android.benchmark_config import AndroidBenchmarkConfig
from export.benchmark_config import HostBenchmarkConfig
from export.benchmark_schema import BenchmarkReport, BenchmarkResult
from export.latency.grid import GridPoint
from export.latency.points import LatencyPoints
from export.latency.single_op import build
from keras_nas.choices import LATENCY_STATISTICS
from keras_nas.costs.latency_table import LatencyTable
from keras_nas.errors import KerasNasError, UsageError

Benchmark = Callable[[Sequence[str], int], BenchmarkReport]


@dataclasses.dataclass(frozen=True)
class LatencyProfileConfig:
    """How to measure a grid.

    Attributes:
        output: Where the table is written.
        points: The file of measured points, by which a run is resumed; by default `output` with
            ".points.jsonl" after it.
        batch: How many points are measured in turns and then written down.
        statistic: The time of a file, of its runs: "median"; or "quartile", the lower one, or
            "min", nearer the truth on a machine that does other work too. The phone's tool tells
            no quartile: the median stands in.
    """

    output: str
    points: str | None = None
    batch: int = 8
    statistic: str = "median"

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise UsageError(f"`batch` must be 1 or more. Received: batch={self.batch}")
        if self.statistic not in LATENCY_STATISTICS:
            raise UsageError(
                f"`statistic` must be one of {', '.join(LATENCY_STATISTICS)}. "
                f"Received: statistic={self.statistic!r}"
            )

    @property
    def points_path(self) -> str:
        """The points' file."""
        return self.points or f"{self.output}.points.jsonl"


def profile(
    grid: Sequence[GridPoint],
    benchmark: Benchmark,
    config: LatencyProfileConfig,
    progress: Callable[[str], None] = lambda line: None,
) -> LatencyTable:
    """Measures what the points' file does not hold yet, and writes the table.

    Args:
        grid: The points.
        benchmark: Measures .tflite files with a number of threads: `on_host()` or `on_android()`.
        config: Where to write and in what portions to measure.
        progress: Called with a line of text after each portion.

    Returns:
        The table of every point in the file, those of earlier runs included.

    Raises:
        KerasNasError: No point could be measured, the device was lost, or the points' file belongs
            to another device. What was measured until then stays in the file.
    """
    points = open_points(grid, benchmark, config)
    fill(points, grid, benchmark, config, progress)
    table = points.table()
    table.save(config.output)
    return table


def open_points(
    grid: Sequence[GridPoint], benchmark: Benchmark, config: LatencyProfileConfig
) -> LatencyPoints:
    """Opens the points' file under the device's name, which one cheap measurement tells.

    Raises:
        KerasNasError: Nothing can be measured, or the file belongs to another device.
    """
    if not grid:
        raise UsageError("`grid` must hold a point or more. Received: grid=[]")
    cheapest = min(grid, key=lambda point: point.flops)
    with tempfile.TemporaryDirectory(prefix="keras_nas_grid.") as folder:
        report = benchmark([_write(cheapest, folder, 0)], cheapest.condition.threads)
    if not report.results:
        raise KerasNasError(f"Nothing can be measured: {report.failures[0].message}")
    device, runtime = report.results[0].device, report.results[0].runtime
    return LatencyPoints(
        config.points_path,
        device.label,
        f"{runtime.name} {runtime.version} {runtime.delegate}",
    )


def fill(
    points: LatencyPoints,
    grid: Sequence[GridPoint],
    benchmark: Benchmark,
    config: LatencyProfileConfig,
    progress: Callable[[str], None] = lambda line: None,
    beside: str = "",
) -> list[float]:
    """Measures what the points' file does not hold yet; arguments as of `profile`.

    Args:
        points: Where the times are written to.
        beside: A .tflite that takes turns with the points of each portion.

    Returns:
        The times of `beside`, in milliseconds, one a portion that was measured.

    Raises:
        KerasNasError: The file holds no point even now, or the device was lost.
    """
    times: list[float] = []
    done = failures = 0
    for _, group in itertools.groupby(sorted(grid, key=_threads), key=_threads):
        for portion in _portions(list(group), config.batch):
            missing = [point for point in portion if point not in points]
            if missing:
                report = _measure(missing, benchmark, points, config.statistic, beside)
                times += [
                    time_of(result, config.statistic)
                    for result in report.results
                    if result.model.path == beside
                ]
                failures += sum(failure.model != beside for failure in report.failures)
            done += len(portion)
            progress(f"{done} of {len(grid)} points")
    if failures:
        logging.warning("%d points could not be measured.", failures)
    if not len(points):
        raise KerasNasError("No point of the grid could be measured; see the log for the reasons.")
    return times


def time_of(result: BenchmarkResult, statistic: str) -> float:
    """A file's milliseconds by a statistic of `LatencyProfileConfig`, or the nearest there is."""
    if statistic == "min" and result.min_ms is not None:
        return result.min_ms
    if statistic == "quartile" and result.samples_ms:
        return float(np.quantile(result.samples_ms, 0.25))
    return result.central_ms


def on_host(config: HostBenchmarkConfig | None = None) -> Benchmark:
    """Returns a measurer for this machine's LiteRT; threads, profile and memory are set here."""
    base = config or HostBenchmarkConfig(warmup=5, runs=40, rounds=8)

    def benchmark(paths: Sequence[str], threads: int) -> BenchmarkReport:
        settings = dataclasses.replace(base, threads=(threads,), profile=False, memory=False)
        return host_benchmark.benchmark(paths, settings)

    return benchmark


def on_android(config: AndroidBenchmarkConfig) -> Benchmark:
    """Returns a measurer for a phone; `models`, `threads` and `output` of `config` are set here.

    Raises:
        UsageError: No binary is given.
    """
    config.check_binary()

    def benchmark(paths: Sequence[str], threads: int) -> BenchmarkReport:
        return android_benchmark.benchmark(
            dataclasses.replace(config, models=tuple(paths), threads=(threads,), output="")
        )

    return benchmark


def residuals_table(table: LatencyTable) -> list[tuple[str, ...]]:
    """Returns a heading and a row of text for each condition: its fit and how well it fits."""
    rows: list[tuple[str, ...]] = [
        ("condition", "points", "most ms", "µs + µs/Mflop", "tile",
         "µs an end", "rms µs", "worst %")
    ]  # fmt: skip
    for name, measured, fit in table.named_fits():
        widest = max(point.ms for point in measured)
        line = f"{1e3 * fit.intercept:.1f} + {1e9 * fit.slope:.2f}"
        rows.append(
            (name, str(fit.points), f"{widest:.4f}", line, str(fit.tile),
             f"{1e3 * fit.end:.2f}", f"{1e3 * fit.rms_ms:.1f}", f"{100 * fit.worst:.0f}")
        )  # fmt: skip
    return rows


def _measure(
    portion: list[GridPoint],
    benchmark: Benchmark,
    points: LatencyPoints,
    statistic: str,
    beside: str,
) -> BenchmarkReport:
    """Measures a portion in turns, and a file with it, and writes the points' times down."""
    with tempfile.TemporaryDirectory(prefix="keras_nas_grid.") as folder:
        paths = {_write(point, folder, i): point for i, point in enumerate(portion)}
        report = benchmark([*paths, *filter(None, [beside])], portion[0].condition.threads)
    points.add(
        (paths[path], time_of(result, statistic) / paths[path].copies)
        for result in report.results
        if (path := result.model.path) in paths
    )
    for failure in report.failures:
        what = paths.get(failure.model, failure.model)
        logging.warning("%s was not measured: %s", what, failure.message)
    return report


def _write(point: GridPoint, folder: str, number: int) -> str:
    content = build(point.condition, point.in_channels, point.out_channels, point.copies)
    path = Path(folder) / f"point_{number}.tflite"
    path.write_bytes(content)
    return os.fspath(path)


def _threads(point: GridPoint) -> int:
    return point.condition.threads


def _portions(points: list[GridPoint], size: int) -> list[list[GridPoint]]:
    return [points[i : i + size] for i in range(0, len(points), size)]
