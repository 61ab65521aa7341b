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
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.file_checks import check_output_file
from keras_nas.settings import setting

if TYPE_CHECKING:
    from export.benchmark_schema import BenchmarkReport
    from export.host_benchmark import HostBenchmarkConfig


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig:
    """What to time, and how."""

    models: tuple[str, ...] = setting((), "The .tflite files; the first is compared with.")
    threads: tuple[int, ...] = setting((1,), "Numbers of threads.")
    warmup: int = setting(10, "Untimed runs of each model at first.")
    runs: int = setting(50, "Timed runs of each model.")
    rounds: int = setting(10, "Blocks of these runs, between which the models take turns.")
    xnnpack: bool = setting(True, "Let the XNNPACK delegate run what it can.")
    profile: bool = setting(True, "Time the operations too.")
    memory: bool = setting(True, "Measure the peak memory too.")
    size: tuple[int, ...] = setting((), "Height and width for models of dynamic size.")
    output: str = setting("", "JSON file to write; a .png of the same name is drawn.")

    def measurement(self) -> HostBenchmarkConfig:
        """Returns the library's configuration.

        Raises:
            UsageError: A value is not allowed.
        """
        if not self.models:
            raise UsageError("`models` must name .tflite files (--models). Received: nothing")
        if len(self.size) not in (0, 2):
            raise UsageError(f"`size` must be a height and a width. Received: size={self.size}")
        from export.errors import ExportError
        from export.host_benchmark import HostBenchmarkConfig

        try:
            return HostBenchmarkConfig(
                threads=self.threads,
                warmup=self.warmup,
                runs=self.runs,
                rounds=self.rounds,
                use_xnnpack=self.xnnpack,
                profile=self.profile,
                memory=self.memory,
                size=(self.size[0], self.size[1]) if self.size else None,
            )
        except ExportError as error:
            raise UsageError(str(error)) from error


config_flags.define(BenchmarkConfig())


def main() -> None:
    config = config_flags.read(BenchmarkConfig())
    measurement = config.measurement()
    if config.output:
        check_output_file(config.output)
    from export.benchmark_table import profile_table, results_table
    from export.host_benchmark import benchmark

    console = Console()
    report = benchmark(config.models, measurement, console.print)
    console.print(results_table(report))
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
