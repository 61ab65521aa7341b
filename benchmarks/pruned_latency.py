"""How well a latency table tells the time of pruned networks, with what surgery writes at joins.

    python -m benchmarks.pruned_latency --folder=runs/pruned_latency

makes a table of each network of benchmarks.pruned_speed from the full network's operations, as
apps.compress does, and compares what it predicts of the pruned ones (float32, one thread) with the
measured time of their files, both by the lower quartile. The mark is a mean absolute error of 8 %
over all pruned networks. It wants a quiet machine; results.json has the numbers, the folder the
points, which are not measured again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from absl import flags
from rich.console import Console
from rich.table import Table

from apps.compress_latency import MEASUREMENT
from apps.main import run as run_app
from benchmarks.pruned_speed import chosen_networks, define_pruning_flags, pruned_by_flags
from export.benchmark_config import HostBenchmarkConfig
from export.host_benchmark import benchmark
from export.latency.network import profile_network
from export.latency.profile import LatencyProfileConfig, on_host, time_of
from export.tflite import convert
from keras_nas.files import atomic_write_text
from keras_nas.graph import read

MOST_ERROR = 0.08
"""The mark: the mean of |predicted / measured − 1|."""


def define_flags() -> None:
    flags.DEFINE_string("folder", "runs/pruned_latency", "Where points, files and results stand.")
    define_pruning_flags()
    flags.DEFINE_integer("points", 16, "Points of each operation.", lower_bound=1)


def main() -> None:
    folder = Path(flags.FLAGS.folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict] = []
    for network in chosen_networks():
        rows += _compared(network, folder)
        atomic_write_text(folder / "results.json", json.dumps(rows, indent=1) + "\n")
    table = Table("network", "way", "predicted ms", "measured ms", "error")
    for row in rows:
        table.add_row(
            row["network"], row["way"], f"{row['predicted']:.3f}", f"{row['measured']:.3f}",
            f"{100 * error(row):+.1f} %",
        )  # fmt: skip
    Console(width=100).print(table)
    mean = mean_error(rows)
    print(f"Mean absolute error of the pruned ones: {100 * mean:.1f} % (mark {100 * MOST_ERROR:g})")
    if mean > MOST_ERROR:
        sys.exit(1)


def error(row: dict) -> float:
    """The share by which the prediction is over what was measured."""
    return row["predicted"] / row["measured"] - 1


def mean_error(rows: list[dict]) -> float:
    """The mean absolute error of all but the full networks, by which tables are calibrated."""
    return float(np.mean([abs(error(row)) for row in rows if row["way"] != "full"]))


def _compared(network: str, folder: Path) -> list[dict]:
    models = pruned_by_flags(network)
    paths = {way: str(folder / f"{network}_{way}.tflite") for way in models}
    for way, model in models.items():
        convert(model, paths[way])
    shape = [(1, *models["full"].inputs[0].shape[1:])]
    config = LatencyProfileConfig(str(folder / f"{network}.json"), statistic="quartile")
    full = read(models["full"], shape)
    points = flags.FLAGS.points
    table = profile_network(full, paths["full"], on_host(MEASUREMENT), config, points=points)
    settings = HostBenchmarkConfig(runs=60, rounds=12, profile=False, memory=False)
    found = {each.model.path: each for each in benchmark(list(paths.values()), settings).results}
    return [
        {
            "network": network,
            "way": way,
            "predicted": table.predict(read(model, shape)),
            "measured": time_of(found[paths[way]], config.statistic),
        }
        for way, model in models.items()
    ]


if __name__ == "__main__":
    define_flags()
    run_app(main)
