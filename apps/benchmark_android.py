r"""Times .tflite files on an Android phone, side by side, with TensorFlow's benchmark_model.

    python -m apps.benchmark_android --benchmark_binary=android_aarch64_benchmark_model \
        --models=big.tflite,small.tflite --threads=1,2 --output=phone.json

Prints a table and what is to be known about each number. --output is written after each run, so
that an unplugged phone costs only what was not measured yet.
"""

from __future__ import annotations

import signal

from rich.console import Console

from apps import config_flags
from apps.main import run as run_app
from export.android.benchmark_config import AndroidBenchmarkConfig
from keras_nas.errors import KerasNasError
from keras_nas.file_checks import check_output_file

config_flags.define(AndroidBenchmarkConfig())


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    config = config_flags.read(AndroidBenchmarkConfig())
    if config.output:
        check_output_file(config.output)
    from export.android.benchmark import benchmark
    from export.benchmark_table import coverage_lines, profile_table, results_table

    console = Console()
    report = benchmark(config)
    console.print(results_table(report))
    for line in coverage_lines(report):
        console.print(line, markup=False)
    for result in report.results:
        if result.profile:
            console.print(profile_table(result))
        for note in result.notes:
            console.print(f"{result.model.path} ({result.threads} threads): {note}", markup=False)
    if report.failures:
        raise KerasNasError("; ".join(f"{f.model}: {f.message}" for f in report.failures))


if __name__ == "__main__":
    run_app(main)
