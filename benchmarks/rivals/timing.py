"""Size and speed of a contest's networks as .tflite, those of one network timed in turns."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras_nas as kn
from benchmarks.rivals.contest import Cell, Contest
from export.benchmark_config import HostBenchmarkConfig
from export.host_benchmark import benchmark
from export.tflite import convert
from keras_nas.files import atomic_write_text


def measure_all(contest: Contest, rows: Sequence[dict[str, Any]]) -> None:
    """Puts what the float32 .tflite files are like into the rows and their files.

    `size_bytes` and `gzip_bytes` are of the file as it is and compressed, `latency_ms` is the
    median on one thread. A network is measured again, all its cells in one interleaved run, as soon
    as one of them was not.
    """
    config = HostBenchmarkConfig(profile=False, memory=False, rounds=6, runs=20)
    for network in dict.fromkeys(row["network"] for row in rows):
        own = [row for row in rows if row["network"] == network]
        if all({"latency_ms", "gzip_bytes"} <= row.keys() for row in own):
            continue
        cells = [Cell.of(row) for row in own]
        paths = [_converted(contest, cell) for cell in cells]
        results = benchmark(list(map(str, paths)), config).results
        for cell, row, path, result in zip(cells, own, paths, results, strict=True):
            content = path.read_bytes()
            row["latency_ms"] = result.central_ms
            row["size_bytes"], row["gzip_bytes"] = len(content), len(gzip.compress(content))
            atomic_write_text(
                contest.cell_path(cell).with_suffix(".json"), json.dumps(row, indent=1)
            )


def _converted(contest: Contest, cell: Cell) -> Path:
    path = contest.cell_path(cell)
    target = path.with_suffix(".tflite")
    if not target.exists():
        convert(kn.load_model(path), target)
    return target
