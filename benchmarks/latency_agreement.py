"""How well the latency table predicts whole pruned networks, on this host.

    python -m benchmarks.latency_agreement

builds VGG- and ResNet-like networks of random and of uniform widths, converts them, measures them
in turns, and compares with what a table predicts that was made from the full network's operations
alone. Both sides take each one's fastest run, since others may work on the machine. It prints each
network, R² and the mean absolute percentage error, and writes the tables and the numbers below
runs/latency_agreement. About a minute on two quiet cores.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import numpy as np

import keras_nas as kn
from export.benchmark_config import HostBenchmarkConfig
from export.host_benchmark import benchmark
from export.latency.grid import grid_of_operations
from export.latency.profile import (
    LatencyProfileConfig,
    on_host,
    profile,
    residuals_table,
    time_of,
)
from export.tflite import convert
from keras_nas.costs import LatencyTable, timed_operations
from keras_nas.files import atomic_write_text
from keras_nas.graph import read

FOLDER = Path("runs/latency_agreement")
SHAPE = (32, 32, 3)
MOST_ERROR = 0.15
LEAST_R2 = 0.95
LINE = "{:28}{:>10}{:>12}{:>12}{:>9}"


def full_networks() -> dict[str, keras.Model]:
    """The networks whose operations the table is made from."""
    return {
        "small_vgg": kn.models.small_vgg(SHAPE, widths=[[64, 64], [128, 128], [256, 256]]),
        "small_resnet": kn.models.small_resnet(SHAPE, stage_widths=[64, 128, 256]),
        "vgg16_cifar": kn.models.vgg16_cifar(),
    }


def pruned_networks(seed: int = 0) -> Iterator[tuple[str, keras.Model]]:
    """Sixteen networks, each narrower than one of `full_networks`."""
    widths = random.Random(seed)

    def narrow(full: int) -> int:
        return widths.randint(full // 4, full)

    for number in range(6):
        chosen = [[narrow(64), narrow(64)], [narrow(128), narrow(128)], [narrow(256), narrow(256)]]
        yield f"small_vgg random {number}", kn.models.small_vgg(SHAPE, widths=chosen)
    for number in range(5):
        stages = sorted(narrow(full) for full in (64, 128, 256))
        inner = [[narrow(full), narrow(full)] for full in (64, 128, 256)]
        yield (
            f"small_resnet random {number}",
            kn.models.small_resnet(SHAPE, stage_widths=stages, inner_widths=inner),
        )
    for share in (0.25, 0.5, 0.75):
        chosen = [
            [round(share * full) for full in stage]
            for stage in ([64] * 2, [128] * 2, [256] * 3, [512] * 3, [512] * 3)
        ]
        yield f"vgg16_cifar uniform {share}", kn.models.vgg16_cifar(widths=chosen)
    for number in range(2):
        chosen = [
            [narrow(full) for full in stage]
            for stage in ([64] * 2, [128] * 2, [256] * 3, [512] * 3, [512] * 3)
        ]
        yield f"vgg16_cifar random {number}", kn.models.vgg16_cifar(widths=chosen)


def main() -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    tables = {name: _table(name, model) for name, model in full_networks().items()}
    paths, predicted, macs = {}, {}, {}
    for name, model in pruned_networks():
        paths[name] = str(FOLDER / f"{name.replace(' ', '_')}.tflite")
        convert(model, paths[name])
        table = tables[name.partition(" ")[0]]
        predicted[name] = table.predict(read(model, [(1, *SHAPE)]))
        macs[name] = kn.costs.count(model).macs
    settings = HostBenchmarkConfig(warmup=5, runs=60, rounds=12, profile=False, memory=False)
    results = benchmark(list(paths.values()), settings).results
    measured = {name: time_of(result, "min") for name, result in zip(paths, results, strict=True)}
    return _report(measured, predicted, macs)


def _table(name: str, model: keras.Model) -> LatencyTable:
    grid = grid_of_operations(timed_operations(read(model, [(1, *SHAPE)])))
    config = LatencyProfileConfig(str(FOLDER / f"{name}.json"), statistic="min")
    Path(config.points_path).unlink(missing_ok=True)
    print(f"measuring {len(grid)} operations for {name}")
    table = profile(grid, on_host(), config)
    for row in residuals_table(table):
        print("{:76}{:>7}{:>18}{:>20}{:>9}{:>9}".format(*row))
    return table


def agreement(measured: Sequence[float], predicted: Sequence[float]) -> tuple[float, float]:
    """Returns R², the share of the measured values' variance that is predicted, and the mean
    absolute error as a share of the measured values.
    """
    truth, guess = np.array(measured), np.array(predicted)
    r2 = 1 - np.sum((truth - guess) ** 2) / np.sum((truth - truth.mean()) ** 2)
    return float(r2), float(np.mean(np.abs(guess / truth - 1)))


def _report(measured: dict[str, float], predicted: dict[str, float], macs: dict[str, int]) -> int:
    print(LINE.format("network", "M macs", "measured ms", "predicted", "error"))
    for name, ms in measured.items():
        error = predicted[name] / ms - 1
        row = (name, f"{macs[name] / 1e6:.1f}", f"{ms:.3f}", f"{predicted[name]:.3f}")
        print(LINE.format(*row, f"{100 * error:+.1f} %"))
    r2, error = agreement(list(measured.values()), list(predicted.values()))
    good = r2 >= LEAST_R2 and error <= MOST_ERROR
    print(
        f"R² {r2:.4f} (mark: {LEAST_R2}), mean absolute percentage error {100 * error:.1f} % "
        f"(mark: {100 * MOST_ERROR:.0f} %) over {len(measured)} networks: "
        f"{'good' if good else 'BAD'}"
    )
    content = {
        "r2": r2, "mean_absolute_percentage_error": 100 * error,
        "measured_ms": measured, "predicted_ms": predicted, "macs": macs,
    }  # fmt: skip
    atomic_write_text(FOLDER / "agreement.json", json.dumps(content, indent=1) + "\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
