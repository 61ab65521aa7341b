"""Measuring .tflite files on an Android phone by TensorFlow's `benchmark_model`.

The phone is reached by `adb`. Program and models go into a folder of their own below
/data/local/tmp, which is removed at the end whatever happens; there they bear names of ours, so a
model's own name never reaches the phone. Several models and thread counts take turns (A B, B A,
…), with a pause for cooling before each, so that their ratio holds although the phone's speed
drifts.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from export import benchmark_model_log, flatbuffer
from export.accelerators.coverage import Coverage
from export.accelerators.file_graph import FileGraph
from export.accelerators.gpu import gpu_coverage
from export.accelerators.phone_log import with_phone
from export.accelerators.splitting import note_splitting
from export.android import thermal
from export.android.adb import (
    AdbDevice,
    AdbError,
    AdbTimeoutError,
    DeviceLostError,
    kill,
    private_folder,
    with_pid_file,
)
from export.android.benchmark_config import AndroidBenchmarkConfig
from export.android.device import attached, check_binary
from export.benchmark_model_log import BenchmarkModelError, BenchmarkModelLog
from export.benchmark_schema import (
    BenchmarkFailure,
    BenchmarkReport,
    BenchmarkResult,
    Device,
    ModelFile,
    OpProfile,
    Runtime,
)
from keras_nas.errors import KerasNasError, UsageError

_SET_UP_TIMEOUT_S = 30.0


@dataclasses.dataclass
class _Job:
    """One model with one thread count, and what its runs told so far."""

    model: ModelFile
    facts: dict[str, Any]
    coverage: list[Coverage]
    threads: int
    remote: str
    logs: list[BenchmarkModelLog] = dataclasses.field(default_factory=list)
    hot: list[bool] = dataclasses.field(default_factory=list)
    profile: list[OpProfile] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    failure: str | None = None


def benchmark(
    config: AndroidBenchmarkConfig, sleep: Callable[[float], None] = time.sleep
) -> BenchmarkReport:
    """Measures the models and returns the report.

    What befalls one model (no room for it, no result, too slow) is a failure in the report and the
    others go on. When the phone goes away, what was measured until then is kept, and the rest are
    failures. `config.output` holds the same after each run.

    Args:
        config: What to measure.
        sleep: Waits for a number of seconds; for tests.

    Raises:
        UsageError: A file is missing or the binary's hash is another one.
        AdbError: Nothing could be measured at all: no adb, no usable device, an ABI that does not
            fit, or the binary cannot be pushed.
    """
    binary_hash = check_binary(config)
    jobs = _jobs(config)
    device, about = attached(config)
    bench = _Bench(config, device, about, binary_hash, jobs, sleep)
    with private_folder(device) as folder:
        try:
            bench.install(folder)
            bench.measure(folder)
        except DeviceLostError as error:
            if not any(job.logs for job in jobs):
                raise
            bench.give_up(error)
    return bench.save()


class _Bench:
    """The run of one command: what is measured and the report about it."""

    def __init__(
        self,
        config: AndroidBenchmarkConfig,
        device: AdbDevice,
        about: Device,
        binary_hash: str,
        jobs: list[_Job],
        sleep: Callable[[float], None],
    ) -> None:
        self._config = config
        self._device = device
        self._about = about
        self._binary_hash = binary_hash
        self._jobs = jobs
        self._sleep = sleep

    def install(self, folder: str) -> None:
        """Pushes the program and the models."""
        program = f"{folder}/benchmark_model"
        self._device.push(self._config.binary, program, self._config.timeout_s)
        self._device.check_shell(["chmod", "700", program])
        for path, remote in {job.model.path: job.remote for job in self._jobs}.items():
            try:
                self._device.push(path, f"{folder}/{remote}", self._config.timeout_s)
            except DeviceLostError:
                raise
            except AdbError as error:
                for job in self._jobs:
                    job.failure = str(error) if job.model.path == path else job.failure

    def measure(self, folder: str) -> None:
        """Runs the models in turns, and once more for the profile."""
        for number in range(self._config.rounds):
            order = self._jobs if number % 2 == 0 else self._jobs[::-1]
            for job in order:
                if job.failure is None:
                    self._measure_once(folder, job)
                    self.save()
        for job in self._jobs:
            if self._config.enable_op_profiling and job.failure is None:
                self._profile(folder, job)
                self.save()

    def give_up(self, error: DeviceLostError) -> None:
        """Notes that the device is gone for each model that was not measured to the end."""
        for job in self._jobs:
            if len(job.logs) < self._config.rounds and job.failure is None:
                job.failure = str(error)
            elif self._config.enable_op_profiling and not job.profile:
                job.notes.append(f"No profile: {error}")

    def save(self) -> BenchmarkReport:
        """Returns the report of what is known, and writes it where the config says."""
        results = note_splitting([self._result(job) for job in self._jobs if job.logs])
        failures = [
            BenchmarkFailure(job.model.path, job.failure) for job in self._jobs if job.failure
        ]
        report = BenchmarkReport(results, failures)
        if self._config.output:
            report.save(self._config.output)
        return report

    def _measure_once(self, folder: str, job: _Job) -> None:
        try:
            before = thermal.cool_down(self._device, self._config.cool_down, self._sleep)
            log = self._run(folder, job, [])
            after = thermal.read(self._device)
        except DeviceLostError:
            raise
        except KerasNasError as error:
            job.failure = str(error)
            return
        if log.delegation == "none" and self._config.delegate in ("gpu", "nnapi"):
            job.failure = (
                f"The {self._config.delegate} delegate took no operation of this model; the "
                "processor would have been measured."
            )
            return
        job.logs.append(log)
        job.hot.append(before.is_throttled or after.is_throttled)
        if job.hot[-1]:
            job.notes.append(f"Round {len(job.logs)} was throttled: {before}, then {after}.")

    def _profile(self, folder: str, job: _Job) -> None:
        remote = f"{folder}/profile_{Path(job.remote).stem}_{job.threads}.csv"
        try:
            log = self._run(
                folder, job, ["--enable_op_profiling=true", f"--profiling_output_csv_file={remote}"]
            )
            profile = self._pull_profile(remote, job) or log.profile
        except DeviceLostError:
            raise
        except KerasNasError as error:
            job.notes.append(f"No profile: {error}")
            return
        job.profile = [
            OpProfile(op.name, op.type, op.avg_ms, op.share) for op in profile.operations
        ]
        if not job.profile:
            job.notes.append("No profile: the tool printed no table of operations.")

    def _pull_profile(self, remote: str, job: _Job) -> benchmark_model_log.Profile | None:
        if self._device.shell(["test", "-s", remote]).returncode:
            return None
        name = f"{Path(job.remote).stem}-{Path(job.model.path).stem}-threads_{job.threads}.csv"
        with tempfile.TemporaryDirectory() as temporary:
            target = Path(self._config.profile_dir or temporary) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            self._device.pull(remote, target, _SET_UP_TIMEOUT_S)
            return benchmark_model_log.parse_profile(target.read_text(errors="replace"))

    def _run(self, folder: str, job: _Job, flags: Sequence[str]) -> BenchmarkModelLog:
        config = self._config
        affinity = ["taskset", config.cpu_affinity] if config.cpu_affinity else []
        command = [
            *affinity,
            f"{folder}/benchmark_model",
            f"--graph={folder}/{job.remote}",
            f"--num_threads={job.threads}",
            f"--num_runs={config.num_runs}",
            f"--warmup_runs={config.warmup_runs}",
            *config.delegate_flags,
            *flags,
        ]
        try:
            done = self._device.shell(with_pid_file(command, folder), config.timeout_s)
        except AdbTimeoutError as error:
            kill(self._device, folder)
            raise AdbTimeoutError(
                f"`benchmark_model` did not end within {config.timeout_s:g} s and was ended."
            ) from error
        if done.returncode:
            complaint = benchmark_model_log.complaint(done.output)
            raise BenchmarkModelError(
                f"`benchmark_model` ended with exit code {done.returncode}: {complaint}"
            )
        return benchmark_model_log.parse(done.output)

    def _result(self, job: _Job) -> BenchmarkResult:
        cool = [log for log, hot in zip(job.logs, job.hot, strict=True) if not hot]
        logs = cool or job.logs
        unused = any(log.delegation == "none" for log in logs)
        return BenchmarkResult(
            device=self._about,
            runtime=Runtime(
                "benchmark_model",
                f"sha256:{self._binary_hash[:16]}",
                "none" if unused else self._config.delegate,
            ),
            model=job.model,
            **job.facts,
            threads=job.threads,
            warmup=self._config.warmup_runs,
            profile=job.profile,
            interleaved_with=sorted({j.model.path for j in self._jobs} - {job.model.path}),
            notes=job.notes + _notes(self._config, logs, len(job.logs)),
            coverage=with_phone(job.coverage, logs[-1], self._config.delegate),
            **_statistics(logs),
        )


def _jobs(config: AndroidBenchmarkConfig) -> list[_Job]:
    if not config.models:
        raise UsageError("`models` must name a .tflite file or more. Received: models=[]")
    jobs = []
    for number, path in enumerate(dict.fromkeys(config.models)):
        if not Path(path).is_file():
            raise UsageError(f"`models` must be files. Received: {path!r}")
        model, parsed = ModelFile.of(path), flatbuffer.read_file(path)
        facts, coverage = _facts(parsed), [gpu_coverage(parsed)]
        jobs += [
            _Job(model, facts, coverage, threads, f"model_{number}.tflite")
            for threads in config.threads
        ]
    return jobs


def _facts(model: Any) -> dict[str, Any]:
    """What the report says of a model, as its flatbuffer, beside its times."""
    graph = model.subgraphs[0]
    return {
        "input_shapes": [[int(n) for n in graph.tensors[i].shape] for i in graph.inputs],
        "dtype": flatbuffer.tensor_dtype(model, graph.inputs[0]),
        "weights_dtype": flatbuffer.weights_dtype(model),
        "macs": FileGraph.of(model).macs(),
    }


def _statistics(logs: Sequence[BenchmarkModelLog]) -> dict[str, Any]:
    """Joins the rounds: means by their runs, the median of the medians."""
    counts = [log.inference.count if log.inference else 1 for log in logs]
    runs = [log.inference for log in logs if log.inference]
    minima = [run.min_ms for run in runs if run.min_ms is not None]
    medians = [run.median_ms for run in runs if run.median_ms is not None]
    memory = [m for log in logs for m in (log.peak_memory_mb, log.memory_overall_mb) if m]
    inits = [log.init_ms for log in logs if log.init_ms is not None]
    mean = sum(log.mean_ms * n for log, n in zip(logs, counts, strict=True)) / sum(counts)
    return {
        "runs": sum(counts),
        "mean_ms": mean,
        "min_ms": min(minima, default=None),
        "median_ms": statistics.median(medians) if medians else None,
        "init_ms": statistics.median(inits) if inits else None,
        "peak_memory_bytes": round(max(memory) * 2**20) if memory else None,
    }


def _notes(
    config: AndroidBenchmarkConfig, logs: Sequence[BenchmarkModelLog], all_: int
) -> list[str]:
    notes = [f"{all_} rounds in turns with the other models; the median is that of their medians."]
    if len(logs) < all_:
        notes.append(f"The {all_ - len(logs)} throttled rounds are left out.")
    tails = [log.inference.p95_ms for log in logs if log.inference and log.inference.p95_ms]
    if tails:
        notes.append(f"95th percentile of the slowest round: {max(tails):.3f} ms.")
    if any(log.delegation == "none" for log in logs):
        notes.append(f"The {config.delegate} delegate took no operation of this model.")
    if any(log.delegation == "partial" for log in logs):
        notes.append(f"The {config.delegate} delegate took a part of the operations only.")
    if config.cpu_affinity:
        notes.append(f"Bound to the processors of the mask {config.cpu_affinity} by taskset.")
    return notes
