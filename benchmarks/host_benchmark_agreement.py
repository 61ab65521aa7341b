"""Does the host benchmark agree with LiteRT's own `litert-benchmark` tool?

    python -m benchmarks.host_benchmark_agreement --models=a.tflite,b.tflite --threads=1,2

Both measure in turns, so that a busy stretch of the machine hits both, and their medians over all
turns are compared. Ends with exit code 1 where they differ by more than --limit.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from absl import flags
from rich.console import Console
from rich.table import Table

from apps.main import run as run_app
from export.benchmark_config import HostBenchmarkConfig
from export.host_benchmark import benchmark
from keras_nas.errors import KerasNasError, UsageError

_WARMUP = 10


def define_flags() -> None:
    flags.DEFINE_list("models", [], "The .tflite files.")
    flags.DEFINE_list("threads", ["1"], "Numbers of threads.")
    flags.DEFINE_integer("runs", 50, "Timed runs in a turn.", lower_bound=1)
    flags.DEFINE_integer("turns", 7, "Turns of each tool.", lower_bound=1)
    flags.DEFINE_float("limit", 0.15, "Largest difference, as a part of the tool's median.")


def main() -> None:
    if not flags.FLAGS.models:
        raise UsageError("`models` must name .tflite files (--models). Received: nothing")
    table = Table(header_style="bold")
    for column in ("model", "threads", "host_benchmark ms", "litert-benchmark ms", "difference"):
        table.add_column(column)
    differences = []
    for path in flags.FLAGS.models:
        for threads in map(int, flags.FLAGS.threads):
            ours, theirs = _measure(path, threads)
            differences.append(abs(ours - theirs) / theirs)
            table.add_row(
                Path(path).name, str(threads), f"{ours:.3f}", f"{theirs:.3f}",
                f"{(ours - theirs) / theirs:+.1%}",
            )  # fmt: skip
    Console().print(table)
    if max(differences) > flags.FLAGS.limit:
        raise KerasNasError(
            f"The tools differ by {max(differences):.1%}, {flags.FLAGS.limit:.0%} is allowed."
        )


def _measure(path: str, threads: int) -> tuple[float, float]:
    """Returns the median of the turns' medians by our benchmark and by the tool, in ms."""
    config = HostBenchmarkConfig(
        threads=(threads,), warmup=_WARMUP, runs=flags.FLAGS.runs, profile=False, memory=False
    )
    ours, theirs = [], []
    for _ in range(flags.FLAGS.turns):
        report = benchmark([path], config)
        if report.failures:
            raise KerasNasError(report.failures[0].message)
        ours.append(report.results[0].central_ms)
        theirs.append(_litert_benchmark(path, threads))
    return statistics.median(ours), statistics.median(theirs)


def _litert_benchmark(path: str, threads: int) -> float:
    tool = Path(sys.executable).with_name("litert-benchmark")
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "result.json"
        command = [
            str(tool), "--model", path, "--num_runs", str(flags.FLAGS.runs),
            "--warmup_runs", str(_WARMUP), "--num_threads", str(threads),
            "--result_json", str(output),
        ]  # fmt: skip
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        if process.returncode or not output.exists():
            last = (process.stderr.strip().splitlines() or ["no message"])[-1]
            raise KerasNasError(f"litert-benchmark ended with {process.returncode}: {last}")
        return json.loads(output.read_text())["latency"]["median_ms"]


if __name__ == "__main__":
    define_flags()
    run_app(main)
