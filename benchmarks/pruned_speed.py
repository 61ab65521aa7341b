"""How much of the arithmetic that pruning saves arrives as time, on this host.

    python -m benchmarks.pruned_speed --folder=runs/pruned_speed

prunes networks to half their macs and times their .tflite files in turns, in float32 and int8, on
one and two threads. Two ways are a search's: gates on branches, nothing rounded ("branches"), and a
gate for each stream, multiples of `ROUND_TO`, no gathers ("groups"). Two are what a person would
do by hand: every width times one number ("uniform"), and that in multiples of 8 ("uniform_8").
Which channels go is chance, since no time depends on it; a search's layers give up shares as uneven
as a search leaves them. `yield` is speed-up times macs: 1 where all that is saved arrives. Files
are written as by `apps.export --accelerator=xnnpack`.

The marks are for "groups": a yield of 0.85 (VGG 0.92), no slower than "uniform" at the same macs,
no gather, one part of XNNPACK. It wants a quiet machine, and writes results.json.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from absl import flags
from rich.console import Console
from rich.table import Table

import keras_nas as kn
from apps.main import run as run_app
from benchmarks.flag_checks import check_names
from export import flatbuffer
from export.accelerators.coverage import of as coverage_of
from export.accelerators.file_graph import FileGraph
from export.benchmark_config import HostBenchmarkConfig
from export.benchmark_schema import BenchmarkResult
from export.export_model import ExportData, export_model
from export.export_options import ExportOptions
from export.host_benchmark import benchmark
from keras_nas.files import atomic_write_text

NETWORKS: dict[str, Callable[[], keras.Model]] = {
    "small_resnet": lambda: kn.models.small_resnet((28, 28, 1)),
    "small_vgg": lambda: kn.models.small_vgg((28, 28, 1)),
    "mobilenet_v2_96": lambda: keras.applications.MobileNetV2(
        (96, 96, 3), weights=None, classes=10
    ),
    "densenet40": kn.models.densenet40_cifar,
}
ROUND_TO = {"small_vgg": 16}
"""Widths of "groups" are multiples of it, where `--round_to` says nothing: the VGG's are wide
enough for kernels that make 16 channels at once. `ROUNDED` elsewhere."""
ROUNDED = 8
LEAST_YIELD = {"small_vgg": 0.92}
YIELD = 0.85
"""The mark for "groups", where `LEAST_YIELD` has none."""
UNEVEN = 0.35
"""Standard deviation of the logarithm of a layer's worth: shares of about 0.35 to 1 at half."""
WRITTEN = ExportOptions(accelerator="xnnpack", parity_samples=8)
GATHERS = ("GATHER", "GATHER_ND", "PAD", "PADV2", "SLICE", "STRIDED_SLICE")
"""Operations that surgery could have written; those of the full network do not count."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A file, as measured beside the full network's.

    Attributes:
        network, way, format, threads: Which.
        macs: Multiply-adds over the full network's.
        time: Milliseconds over the full network's.
        milliseconds: Of the median run.
        gathers: Gathers, pads and slices that the full network's file has not.
        partitions: Of XNNPACK.
    """

    network: str
    way: str
    format: str
    threads: int
    macs: float
    time: float
    milliseconds: float
    gathers: int
    partitions: int | None

    @property
    def arrived(self) -> float:
        """Speed-up × macs."""
        return self.macs / self.time


def define_flags() -> None:
    flags.DEFINE_string("folder", "runs/pruned_speed", "Where files and results stand.")
    define_pruning_flags()
    flags.DEFINE_list("formats", ["float32", "int8"], "Which files.")
    flags.DEFINE_list("threads", ["1", "2"], "Numbers of threads.")
    flags.DEFINE_integer("runs", 60, "Timed runs of each file.", lower_bound=1)
    flags.DEFINE_integer("rounds", 12, "Blocks of them, taking turns.", lower_bound=1)


def define_pruning_flags() -> None:
    """What `pruned` prunes, and how."""
    flags.DEFINE_list("networks", list(NETWORKS), "Which networks.")
    flags.DEFINE_string("target_macs", "0.5x", "What is left of the macs.")
    flags.DEFINE_integer("round_to", None, "Widths of groups are multiples of it.", lower_bound=1)


def main() -> None:
    folder = Path(flags.FLAGS.folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for network in chosen_networks():
        models = pruned_by_flags(network)
        for kind in flags.FLAGS.formats:
            rows += _timed(network, models, kind, folder)
            text = json.dumps([dataclasses.asdict(row) for row in rows], indent=1)
            atomic_write_text(folder / "results.json", text + "\n")
    failed = _show(rows)
    for line in failed:
        print(f"BAD: {line}")
    if failed:
        sys.exit(1)


def chosen_networks() -> list[str]:
    """Those of the command, of `NETWORKS`."""
    check_names("networks", flags.FLAGS.networks, NETWORKS)
    return flags.FLAGS.networks


def pruned_by_flags(network: str) -> dict[str, keras.Model]:
    """`pruned` of one of `NETWORKS`."""
    given = flags.FLAGS
    round_to = given.round_to or ROUND_TO.get(network, ROUNDED)
    return pruned(NETWORKS[network](), given.target_macs, round_to)


def pruned(model: keras.Model, target: str, round_to: int = ROUNDED) -> dict[str, keras.Model]:
    """The full network and what each way leaves of it, by the way's name."""
    streams = kn.surgery.streams(model)
    return {
        "full": model,
        "branches": _without_channels(model, (), "global", 1, "auto", target),
        "groups": _without_channels(model, streams, "global", round_to, "never", target),
        "uniform": _without_channels(model, streams, "layer", 1, "never", target),
        "uniform_8": _without_channels(model, streams, "layer", 8, "never", target),
    }


def _without_channels(model, streams, ranking, round_to, align, target) -> keras.Model:
    supernet = kn.gates.insert(model, kn.layers.ScaledSigmoidGate, streams=streams)
    chance = np.random.default_rng(0)
    scores = {
        gate.name: np.exp(chance.normal(0, UNEVEN)) * chance.uniform(0.5, 1.5, gate.channels)
        for gate in kn.gates.find(supernet)
    }
    architecture = kn.importance.prune(
        supernet, scores, target_macs=target, ranking=ranking, tied=bool(streams),
        round_to=round_to, min_share=0.1, align=align,
    )  # fmt: skip
    return kn.surgery.build(supernet, architecture, align=align)


def _timed(network: str, models: dict[str, keras.Model], kind: str, folder: Path) -> list[Row]:
    paths = {way: str(folder / f"{network}_{way}_{kind}.tflite") for way in models}
    shape = (8, *models["full"].inputs[0].shape[1:])
    images = np.random.default_rng(1).uniform(-1, 1, shape).astype("float32")
    for way, model in models.items():
        export_model(model, paths[way], kind, data=ExportData(train=images), options=WRITTEN)
    given = flags.FLAGS
    settings = HostBenchmarkConfig(
        threads=tuple(map(int, given.threads)), runs=given.runs, rounds=given.rounds,
        profile=False, memory=False,
    )  # fmt: skip
    results = benchmark(list(paths.values()), settings).results
    found = {(result.model.path, result.threads): result for result in results}
    gathers = {way: _gathers(path) for way, path in paths.items()}
    return [
        _row(
            network, way, kind, found[path, threads], found[paths["full"], threads],
            gathers[way] - gathers["full"],
        )
        for threads in settings.threads
        for way, path in paths.items()
    ]  # fmt: skip


def _row(
    network: str, way: str, kind: str, of: BenchmarkResult, full: BenchmarkResult, gathers: int
) -> Row:
    xnnpack = coverage_of(of.coverage, "xnnpack")
    macs = (of.macs or 0) / full.macs if full.macs else 0.0
    return Row(
        network, way, kind, of.threads, macs, of.central_ms / full.central_ms, of.central_ms,
        gathers, xnnpack.partitions if xnnpack else None,
    )  # fmt: skip


def _gathers(path: str) -> int:
    nodes = FileGraph.of(flatbuffer.read_file(path)).nodes
    return sum(node.operation in GATHERS for node in nodes)


def _show(rows: list[Row]) -> list[str]:
    """Prints the table, and returns which marks are missed."""
    table = Table(
        "network", "file", "threads", "way", "macs", "time", "yield", "ms", "of uniform",
        "gathers", "parts",
    )  # fmt: skip
    uniform = {_place(row): row for row in rows if row.way == "uniform"}
    failed = []
    for row in rows:
        rival = uniform[_place(row)]
        table.add_row(
            row.network, row.format, str(row.threads), row.way, f"{row.macs:.3f}",
            f"{row.time:.3f}", f"{row.arrived:.2f}", f"{row.milliseconds:.3f}",
            f"{row.milliseconds / rival.milliseconds:.2f}", str(row.gathers), str(row.partitions),
        )  # fmt: skip
        if row.way == "groups":
            failed += missed(row, rival)
    Console(width=120).print(table)
    return failed


def missed(row: Row, uniform: Row) -> list[str]:
    """Which marks a file misses, as lines, beside the uniformly thinner network's."""
    beside = row.milliseconds / uniform.milliseconds
    place = f"{row.network} {row.format} on {row.threads}"
    least = LEAST_YIELD.get(row.network, YIELD)
    found = {
        f"yield {row.arrived:.2f} is below {least}": row.arrived < least,
        f"{beside:.2f} of uniform's time": beside > 1,
        f"{row.gathers} gathers, pads or slices": row.gathers > 0,
        f"{row.partitions} parts of XNNPACK": row.partitions != 1,
    }
    return [f"{place}: {what}" for what, bad in found.items() if bad]


def _place(row: Row) -> tuple[str, str, int]:
    return row.network, row.format, row.threads


if __name__ == "__main__":
    define_flags()
    run_app(main)
