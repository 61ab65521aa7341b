"""Times .tflite files on this machine, side by side.

    python -m apps.benchmark --models=big.tflite,small.tflite --threads=1,2

Prints a table and where the time goes; --output writes all samples as JSON and a bar chart beside
it.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from apps import config_flags
from apps.main import run as run_app
from export.benchmark_config import HostBenchmarkConfig
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.file_checks import check_output_file
from keras_nas.settings import group, setting

if TYPE_CHECKING:
    from export.benchmark_schema import BenchmarkReport


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig:
    """What to time, and how."""

    models: tuple[str, ...] = setting((), "The .tflite files; the first is compared with.")
    output: str = setting("", "JSON file to write; a .png of the same name is drawn.")
    measurement: HostBenchmarkConfig = group(HostBenchmarkConfig())


config_flags.define(BenchmarkConfig())


def main() -> None:
    config = config_flags.read(BenchmarkConfig())
    if not config.models:
        raise UsageError("`models` must name .tflite files (--models). Received: nothing")
    if config.output:
        check_output_file(config.output)
    from export.benchmark_table import coverage_lines, profile_table, results_table
    from export.host_benchmark import benchmark

    console = Console()
    report = benchmark(config.models, config.measurement, console.print)
    console.print(results_table(report))
    for line in coverage_lines(report):
        console.print(line, markup=False)
    for result in report.results:
        if result.profile:
            console.print(profile_table(result))
        for note in result.notes:
            console.print(f"{result.model.path}: {note}")
    if config.output:
        _save(report, Path(config.output), console)
    if report.failures:
        raise KerasNasError("; ".join(failure.message for failure in report.failures))


def _save(report: BenchmarkReport, path: Path, console: Console) -> None:
    from export.benchmark_table import draw_chart

    report.save(path)
    draw_chart(report, path.with_suffix(".png"))
    console.print(f"{path} and {path.with_suffix('.png').name}")


if __name__ == "__main__":
    run_app(main)
