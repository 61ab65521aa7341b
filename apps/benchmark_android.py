"""Times .tflite files on an Android phone, side by side, with TensorFlow's benchmark_model.

    python -m apps.benchmark_android --benchmark_binary=android_aarch64_benchmark_model \
        --models=big.tflite,small.tflite --threads=1,2 --output=phone.json

Prints a table and what is to be known about each number. --output is written after each run, so
that an unplugged phone costs only what was not measured yet.
"""

from __future__ import annotations

import dataclasses
import signal

from rich.console import Console

from apps import config_flags
from apps.main import run as run_app
from apps.phone import PhoneConfig
from keras_nas.errors import KerasNasError
from keras_nas.file_checks import check_output_file
from keras_nas.settings import setting


@dataclasses.dataclass(frozen=True)
class BenchmarkAndroidConfig:
    """What to time."""

    models: tuple[str, ...] = setting((), "The .tflite files; the first is compared with.")
    threads: tuple[int, ...] = setting((1,), "Numbers of threads.")
    rounds: int = setting(3, "How often the models take turns.")
    enable_op_profiling: bool = setting(False, "Time the operations too, in a run of their own.")
    profile_dir: str = setting("", "Folder for the profiles' CSV files.")
    output: str = setting("", "JSON file to write.")


config_flags.define(BenchmarkAndroidConfig(), PhoneConfig())


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    config = config_flags.read(BenchmarkAndroidConfig())
    if config.output:
        check_output_file(config.output)
    from export.android.benchmark import benchmark
    from export.benchmark_table import profile_table, results_table

    console = Console()
    report = benchmark(
        config_flags.read(PhoneConfig()).measurement(
            config.models,
            threads=config.threads,
            rounds=config.rounds,
            enable_op_profiling=config.enable_op_profiling,
            profile_dir=config.profile_dir or None,
            output=config.output or None,
        )
    )
    console.print(results_table(report))
    for result in report.results:
        if result.profile:
            console.print(profile_table(result))
        for note in result.notes:
            console.print(f"{result.model.path} ({result.threads} threads): {note}", markup=False)
    if report.failures:
        raise KerasNasError("; ".join(f"{f.model}: {f.message}" for f in report.failures))


if __name__ == "__main__":
    run_app(main)
