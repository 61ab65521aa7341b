r"""Exports an unpruned and a pruned model in every format and compares size, quality and speed.

    python -m benchmarks.export_matrix --original=runs/demo_dnal/baseline.keras \
        --pruned=runs/demo_dnal/finetuned.keras --data=fashion_mnist --output_dir=/tmp/matrix

The speed-up of each format is measured in one interleaved run of both files. "efficiency" is the
speed-up divided by the ratio of the models' MACs: 1.00 where time falls as the arithmetic does.
Where float32 with one thread stays below --mark, the operations' times of both files are printed,
and how fast the arithmetic of each runs: narrow layers use the processor worse, and what moves
values (gathers, padding) costs time but no MACs.
All settings of `apps.export` are flags here too.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from absl import flags
from rich.console import Console
from rich.table import Table

from apps import config_flags
from apps.export_config import ExportConfig
from apps.main import run as run_app
from apps.model_export import export_file
from export import tflite
from export.benchmark_config import HostBenchmarkConfig
from export.benchmark_schema import BenchmarkReport, BenchmarkResult
from export.benchmark_table import arithmetic_text, profile_table
from export.host_benchmark import benchmark
from export.parity import Parity
from export.tflite import ExportedModel
from keras_nas import costs
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.files import atomic_write_text
from keras_nas.loading import load_model


@dataclasses.dataclass(frozen=True)
class Entry:
    """Both models in one format."""

    format: str
    exports: list[tuple[ExportedModel, Parity]]
    report: BenchmarkReport

    def result(self, place: int, threads: int) -> BenchmarkResult:
        """Returns the measurement of the original (0) or the pruned (1) file."""
        path = str(self.exports[place][0].path)
        return next(
            result
            for result in self.report.results
            if result.model.path == path and result.threads == threads
        )

    def speed_up(self, threads: int) -> float:
        """Returns how many times faster the pruned file is."""
        return self.result(0, threads).central_ms / self.result(1, threads).central_ms


def define_flags() -> None:
    config_flags.define(ExportConfig(formats=tflite.FORMATS))
    flags.DEFINE_string("original", "", "The unpruned .keras file.")
    flags.DEFINE_string("pruned", "", "The pruned .keras file.")
    flags.DEFINE_list("threads", ["1", "2"], "Numbers of threads.")
    flags.DEFINE_integer("runs", 100, "Timed runs of each file.", lower_bound=1)
    flags.DEFINE_float("mark", 0.85, "Least efficiency of float32 with one thread.")


def main() -> None:
    if not flags.FLAGS.original or not flags.FLAGS.pruned:
        raise UsageError("`original` and `pruned` must name .keras files.")
    console = Console()
    config = config_flags.read(ExportConfig(formats=tflite.FORMATS))
    macs = [_macs(path) for path in (flags.FLAGS.original, flags.FLAGS.pruned)]
    ratio = macs[0] / macs[1]
    threads = [int(count) for count in flags.FLAGS.threads]
    entries = []
    for name in config.formats:
        try:
            entries.append(_entry(name, config, threads))
        except KerasNasError as error:
            console.print(f"{name}: {error}")
    console.print(_table(entries, threads, ratio))
    console.print(f"The original has {ratio:.2f} times the MACs of the pruned model.")
    _explain(entries, threads, macs, console)
    if config.output_dir:
        path = Path(config.output_dir) / "export_matrix.json"
        atomic_write_text(path, json.dumps(_record(entries, threads, ratio), indent=1) + "\n")
        console.print(path)


def _macs(path: str) -> int:
    if not Path(path).is_file():
        raise KerasNasError(f"The model {path} does not exist.")
    return costs.count(load_model(path)).macs


def _entry(name: str, config: ExportConfig, threads: list[int]) -> Entry:
    exports = []
    for role, path in (("original", flags.FLAGS.original), ("pruned", flags.FLAGS.pruned)):
        one = dataclasses.replace(config, model=path, formats=(name,), name=role)
        exports += export_file(one)
    settings = HostBenchmarkConfig(threads=tuple(threads), runs=flags.FLAGS.runs)
    return Entry(name, exports, benchmark([export.path for export, _ in exports], settings))


def _table(entries: list[Entry], threads: list[int], ratio: float) -> Table:
    """One row a format: the original's numbers above the pruned model's."""
    table = Table(header_style="bold", show_lines=True, padding=0)
    table.add_column("format\n(pruned below)", min_width=12)
    times = [f"ms\n{count} thr." for count in threads]
    columns = ("size\nMB", "worst\n%", "metric\nKeras→file", *times, "speed-\nup", "effi-\nciency")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for entry in entries:
        parities = [parity for _, parity in entry.exports]
        ups = [entry.speed_up(count) for count in threads]
        table.add_row(
            entry.format,
            "\n".join(f"{export.size_bytes / 1e6:.3f}" for export, _ in entry.exports),
            "\n".join(f"{100 * parity.worst_relative:.2g}" for parity in parities),
            "\n".join(
                f"{parity.metric_keras:.2f}→{parity.metric_tflite:.2f}"
                for parity in parities
                if parity.metric_keras is not None
            ),
            *(
                "\n".join(f"{entry.result(place, count).central_ms:.3f}" for place in (0, 1))
                for count in threads
            ),
            "\n".join(f"{up:.2f}×" for up in ups),
            "\n".join(f"{up / ratio:.2f}" for up in ups),
        )
    return table


def _explain(entries: list[Entry], threads: list[int], macs: list[int], console: Console) -> None:
    """Prints where the time goes, if float32 with one thread gains less than it should."""
    for entry in entries:
        if entry.format != "float32" or 1 not in threads:
            continue
        if entry.speed_up(1) * macs[1] / macs[0] < flags.FLAGS.mark:
            for place, name in enumerate(("original", "pruned")):
                result = entry.result(place, 1)
                console.print(profile_table(result))
                console.print(f"{name}: {arithmetic_text(result, macs[place])}")


def _record(entries: list[Entry], threads: list[int], ratio: float) -> dict[str, Any]:
    return {
        "macs_ratio": ratio,
        "formats": {
            entry.format: {
                "speed_up": {str(count): entry.speed_up(count) for count in threads},
                "efficiency": {str(count): entry.speed_up(count) / ratio for count in threads},
                "parity": [
                    {**dataclasses.asdict(parity), "passed": parity.passed}
                    for _, parity in entry.exports
                ],
                "benchmark": entry.report.to_dict(),
            }
            for entry in entries
        },
    }


if __name__ == "__main__":
    define_flags()
    run_app(main)
