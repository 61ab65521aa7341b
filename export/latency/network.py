"""The latency table of one network: its own operations, calibrated by its own file.

The sum of lone operations is not what a network takes: its operations find their inputs in the
caches, or do not, and the runtime has work of its own. The file takes turns with the operations
while they are measured, and the ratio of its time to the sum multiplies all predictions, so that a
prediction means what would be measured.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from export.latency.grid import grid_of_moves, grid_of_operations
from export.latency.profile import Benchmark, LatencyProfileConfig, fill, open_points, time_of
from keras_nas.costs import LatencyTable, timed_operations
from keras_nas.errors import KerasNasError
from keras_nas.graph import Graph

SAMPLE = 8
"""Points that are measured first, to tell how long all take."""


def profile_network(
    graph: Graph,
    file: str,
    benchmark: Benchmark,
    config: LatencyProfileConfig,
    expect: Callable[[int, float], None] = lambda points, seconds: None,
    progress: Callable[[str], None] = lambda line: None,
    *,
    points: int = 8,
    round_to: int = 1,
) -> LatencyTable:
    """Measures the operations of a network and its narrower forms, and writes the table.

    It is for float32 on one thread.

    Args:
        graph: The full network's, with known sizes.
        file: Its float32 .tflite.
        benchmark: Measures on the device: `on_host()` or `on_android()`.
        config: Where to write; points of a run that was stopped are not measured again.
        expect: Called once, after the first few points, with the number of those that are to be
            measured in all and the seconds that the others take, about. What it raises ends the
            work.
        progress: Called with a line of text after each portion of the others.
        points, round_to: As in `grid_of_operations`.

    Returns:
        The table; `LatencyTable.calibration` is the file's time over the sum of the operations',
        all by the statistic of `config`.

    Raises:
        KerasNasError: An operation of the network is not known, the file or no point could be
            measured, or the device was lost.
    """
    operations = timed_operations(graph)
    grid = [*grid_of_operations(operations, points, round_to), *grid_of_moves(graph, operations)]
    measured = open_points(grid, benchmark, config)
    missing = [point for point in grid if point not in measured]
    sample = missing[:: max(1, len(missing) // SAMPLE)][:SAMPLE]
    began = time.monotonic()
    times = fill(measured, sample, benchmark, config, beside=file)
    if missing:
        each = (time.monotonic() - began) / len(sample)
        expect(len(missing), each * (len(missing) - len(sample)))
    times += fill(measured, grid, benchmark, config, progress, beside=file)
    took = statistics.median(times or [_alone(file, benchmark, config)])
    table = measured.table().calibrated(graph, took)
    table.save(config.output)
    return table


def _alone(file: str, benchmark: Benchmark, config: LatencyProfileConfig) -> float:
    """The file's time where every point was measured before."""
    report = benchmark([file], 1)
    if not report.results:
        raise KerasNasError(f"{file} cannot be measured: {report.failures[0].message}")
    return time_of(report.results[0], config.statistic)
