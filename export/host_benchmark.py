"""Timing .tflite files on this machine with LiteRT, side by side.

A machine that does other work too is slow in stretches. Several models therefore take turns in
small blocks (A A A B B B A A A …), so that every stretch hits all of them and their ratios hold.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from export import benchmark_model_log, flatbuffer
from export.accelerators.file_graph import FileGraph
from export.accelerators.gpu import gpu_coverage
from export.accelerators.splitting import note_splitting
from export.accelerators.survey import coverages
from export.benchmark_config import HostBenchmarkConfig
from export.benchmark_schema import (
    BenchmarkFailure,
    BenchmarkReport,
    BenchmarkResult,
    Device,
    ModelFile,
    OpProfile,
    Runtime,
    summarise,
)
from export.errors import ExportError
from export.quiet import quiet_stderr
from export.random_inputs import prepare

SETTLE_MS = 20.0
"""Of untimed runs before each block on several threads. XNNPACK's threads spin for a million turns
after their last work, more than ten milliseconds; until then those of the model before it take a
processor from this one's, and one file has twice the time of its copy."""
_PROBE_TIMEOUT = 600


def benchmark(
    models: Sequence[str | os.PathLike[str]],
    config: HostBenchmarkConfig | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> BenchmarkReport:
    """Measures every model with every number of threads.

    Example:
        report = benchmark(["big.tflite", "small.tflite"], HostBenchmarkConfig(threads=(1, 2)))
        report.save("benchmark.json")

    Args:
        models: Paths of .tflite files.
        config: How to measure.
        progress: Called with a line of text before each part of the work.

    Returns:
        Results in the order of threads and models; the notes say where a file with fewer macs than
        the first is cut in more partitions. A file that cannot be loaded or run is among the
        failures; the others are measured.

    Raises:
        ExportError: No model is given, or one twice.
    """
    config = config or HostBenchmarkConfig()
    paths = [os.fspath(path) for path in models]
    if not paths or len(set(paths)) != len(paths):
        raise ExportError(f"`models` must be one or more different files. Received: {paths}")
    results: list[BenchmarkResult] = []
    failures: dict[str, str] = {}
    for threads in config.threads:
        progress(f"timing with {threads} thread{'s' if threads > 1 else ''}")
        entrants = []
        for path in paths:
            if path in failures:
                continue
            try:
                entrants.append(_Entrant(path, threads, config))
            except ExportError as error:
                failures[path] = str(error)
        _race(entrants, config)
        for entrant in entrants:
            others = [other.path for other in entrants if other is not entrant]
            progress(f"profiling {entrant.path}")
            results.append(_result(entrant, others, config))
    return BenchmarkReport(
        note_splitting(results), [BenchmarkFailure(*failure) for failure in failures.items()]
    )


def host_device() -> Device:
    """Returns this machine's description."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
        name = found[1] if found else name
    return Device("host", name, platform.machine(), platform.platform(), len(_cpus()))


class _Entrant:
    """One model ready to run, and its times."""

    def __init__(self, path: str, threads: int, config: HostBenchmarkConfig):
        self.path = path
        self.threads = threads
        self.samples_ms: list[float] = []
        self.parsed = flatbuffer.read_file(path)
        resolver = (
            OpResolverType.AUTO
            if config.use_xnnpack
            else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        )
        start = time.perf_counter()
        try:
            with quiet_stderr():
                self.interpreter = Interpreter(
                    path, num_threads=threads, experimental_op_resolver_type=resolver
                )
                prepare(self.interpreter, config.size, config.seed)
                self.init_ms = 1e3 * (time.perf_counter() - start)
                self.interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise ExportError(f"LiteRT cannot run {path}: {error}") from error

    def settle(self) -> None:
        """Runs untimed until the model is in the caches, and other models' threads sleep."""
        end = time.perf_counter() + (SETTLE_MS / 1e3 if self.threads > 1 else 0.0)
        self.interpreter.invoke()
        while time.perf_counter() < end:
            self.interpreter.invoke()

    def run(self, count: int) -> Iterator[float]:
        """Yields the milliseconds of `count` runs."""
        for _ in range(count):
            start = time.perf_counter_ns()
            self.interpreter.invoke()
            yield (time.perf_counter_ns() - start) / 1e6


def _race(entrants: list[_Entrant], config: HostBenchmarkConfig) -> None:
    for entrant in entrants:
        for _ in entrant.run(config.warmup):
            pass
    rounds = min(config.rounds, config.runs)
    for number in range(rounds):
        block = (number + 1) * config.runs // rounds - number * config.runs // rounds
        for entrant in entrants:
            entrant.settle()
            entrant.samples_ms += entrant.run(block)


def _result(entrant: _Entrant, others: list[str], config: HostBenchmarkConfig) -> BenchmarkResult:
    notes: list[str] = []
    inputs = entrant.interpreter.get_input_details()
    if entrant.threads > len(_cpus()):
        notes.append(f"{entrant.threads} threads share {len(_cpus())} processors")
    return BenchmarkResult(
        device=host_device(),
        runtime=Runtime(
            "ai_edge_litert",
            importlib.metadata.version("ai-edge-litert"),
            "xnnpack" if config.use_xnnpack else "none",
        ),
        model=ModelFile.of(entrant.path),
        input_shapes=[[int(n) for n in detail["shape"]] for detail in inputs],
        dtype=np.dtype(inputs[0]["dtype"]).name,
        weights_dtype=flatbuffer.weights_dtype(entrant.parsed),
        threads=entrant.threads,
        warmup=config.warmup,
        runs=len(entrant.samples_ms),
        samples_ms=entrant.samples_ms,
        **summarise(entrant.samples_ms),
        init_ms=entrant.init_ms,
        peak_memory_bytes=_peak_memory(entrant, config, notes) if config.memory else None,
        profile=_profile(entrant, config, notes) if config.profile else [],
        interleaved_with=others,
        notes=notes,
        macs=FileGraph.of(entrant.parsed).macs(),
        coverage=coverages(entrant.parsed, entrant.interpreter)
        if config.use_xnnpack
        else [gpu_coverage(entrant.parsed)],
    )


def _peak_memory(entrant: _Entrant, config: HostBenchmarkConfig, notes: list[str]) -> int | None:
    size = [str(n) for n in config.size or ()]
    answer = _probe("memory", entrant, notes, str(int(config.use_xnnpack)), *size)
    return int(answer) if answer else None


def _profile(entrant: _Entrant, config: HostBenchmarkConfig, notes: list[str]) -> list[OpProfile]:
    """Times the operations; they are the delegate's own where it runs them."""
    if not config.use_xnnpack:
        notes.append("no profile: it is taken with XNNPACK only")
        return []
    if any(-1 in detail["shape_signature"] for detail in entrant.interpreter.get_input_details()):
        notes.append("no profile: the model's size is dynamic")
        return []
    runs = min(config.runs, 30)
    text = _probe("profile", entrant, notes, str(runs))
    found: list[OpProfile] = []
    for operation in benchmark_model_log.parse_profile(text or "").operations:
        # One line stands for the like operations of all parts that a delegate has of the graph.
        calls = max(1, round(operation.times_called / runs))
        average, share = operation.avg_ms / runs / calls, operation.share / calls
        found += [OpProfile(operation.name, operation.type, average, share)] * calls
    return found


def _probe(what: str, entrant: _Entrant, notes: list[str], *arguments: str) -> str | None:
    """Asks litert_probe.py in a process of its own; None and a note where that fails."""
    command = [sys.executable, "-m", f"{__package__}.litert_probe", what]
    command += [os.path.abspath(entrant.path), str(entrant.threads), *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(_module_paths())}
    try:
        process = subprocess.run(
            command, capture_output=True, text=True, timeout=_PROBE_TIMEOUT, env=environment,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        notes.append(f"no {what}: it took longer than {_PROBE_TIMEOUT} s")
        return None
    if process.returncode:
        last = (process.stderr.strip().splitlines() or ["no message"])[-1]
        notes.append(f"no {what}: the probe ended with {process.returncode}: {last}")
        return None
    return process.stdout


def _module_paths() -> list[str]:
    return [str(Path(__file__).resolve().parents[1]), *filter(None, sys.path)]


def _cpus() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
