"""Timing the networks of a contest as .tflite, those of one network in turns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import keras_nas as kn
from benchmarks.rivals.contest import Cell, Contest
from export.benchmark_config import HostBenchmarkConfig
from export.host_benchmark import benchmark
from export.tflite import convert
from keras_nas.files import atomic_write_text


def time_all(contest: Contest, cells: Sequence[Cell], rows: Sequence[dict[str, Any]]) -> None:
    """Puts `latency_ms`, the median of a float32 file on one thread, into the rows and their files.

    A network is timed again, all its cells in one interleaved run, as soon as one of them was not.
    """
    config = HostBenchmarkConfig(profile=False, memory=False, rounds=6, runs=20)
    for network in dict.fromkeys(cell.network for cell in cells):
        own = [pair for pair in zip(cells, rows, strict=True) if pair[0].network == network]
        if all("latency_ms" in row for _, row in own):
            continue
        paths = [_converted(contest, cell) for cell, _ in own]
        results = benchmark(paths, config).results
        for (cell, row), result in zip(own, results, strict=True):
            row["latency_ms"] = result.central_ms
            path = contest.cell_path(cell).with_suffix(".json")
            atomic_write_text(path, json.dumps(row, indent=1))


def _converted(contest: Contest, cell: Cell) -> str:
    path = contest.cell_path(cell)
    target = path.with_suffix(".tflite")
    if not target.exists():
        convert(kn.load_model(path), target)
    return str(target)
