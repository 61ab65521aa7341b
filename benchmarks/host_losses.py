"""Prints the losses of one process beside those of two processes that train as two hosts.

    python -m benchmarks.host_losses --output_dir=host_losses

The two processes stand for hosts: MultiWorkerMirroredStrategy, TF_CONFIG, loopback. Each runs 20
steps of each stage with BatchNormalization synchronised or frozen (tests/search/replica_losses.py);
what they print is kept in the log folder.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from absl import flags

from apps.main import run as run_app
from keras_nas.errors import KerasNasError

TOLERANCE = 1e-5
LIMIT_SECONDS = 600.0


def one_process(log_dir: Path) -> dict[str, list[float]]:
    """The losses by stage of a process of its own."""
    return _losses(*_start("none", log_dir / "one_process.log", {}))


def two_processes(log_dir: Path) -> list[dict[str, list[float]]]:
    """The losses by stage that each of two processes tells."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in _free_ports(2)]}
    started = []
    for index in range(2):
        task = {"type": "worker", "index": index}
        environment = {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}
        started.append(_start("multi_worker", log_dir / f"host_{index}.log", environment))
    return [_losses(process, log) for process, log in started]


def difference(first: dict[str, list[float]], second: dict[str, list[float]]) -> float:
    """The largest difference of two processes' numbers.

    Raises:
        KerasNasError: If they do not have the same stages and lengths.
    """
    if {k: len(v) for k, v in first.items()} != {k: len(v) for k, v in second.items()}:
        raise KerasNasError("The processes did not run the same steps.")
    return max(abs(a - b) for name in first for a, b in zip(first[name], second[name], strict=True))


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _start(kind: str, log: Path, environment: dict[str, str]) -> tuple[subprocess.Popen, Path]:
    with open(log, "wb") as file:
        command = [sys.executable, "-m", "tests.search.replica_losses", kind]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0", **environment}
        return subprocess.Popen(command, stdout=file, stderr=file, env=environment), log


def _losses(process: subprocess.Popen, log: Path) -> dict[str, list[float]]:
    try:
        code = process.wait(LIMIT_SECONDS)
    finally:
        process.kill()
    if code:
        raise KerasNasError(f"A process ended with exit code {code}: see {log}.")
    lines = log.read_text(encoding="utf-8").splitlines()
    return json.loads(next(line for line in reversed(lines) if line.startswith("{")))


def define_flags() -> None:
    """Defines the flags."""
    flags.DEFINE_string("output_dir", "host_losses", "Folder for the processes' output.")


def main() -> None:
    log_dir = Path(flags.FLAGS.output_dir)
    log_dir.mkdir(parents=True, exist_ok=True)
    one, hosts = one_process(log_dir), two_processes(log_dir)
    for name, values in one.items():
        print(name)
        columns = [values, *(host[name] for host in hosts)]
        for row in zip(*columns, strict=True):
            print("  " + "  ".join(f"{value:.7f}" for value in row))
    largest = max(difference(one, host) for host in hosts)
    print(f"columns: one process, host 0, host 1; the largest difference is {largest:.1e}")
    if largest > TOLERANCE:
        raise KerasNasError(f"The losses differ by more than {TOLERANCE:g}.")


if __name__ == "__main__":
    define_flags()
    run_app(main)
