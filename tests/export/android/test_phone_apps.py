"""The apps that measure on a phone, as commands: what they print, write, and end with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from export.benchmark_schema import BenchmarkReport
from keras_nas.costs import LatencyTable

TOP = Path(__file__).parents[3]


def command(app: str, server, *flags: str) -> list[str]:
    return [
        sys.executable, "-m", f"apps.{app}", f"--adb_port={server.port}", "--cool_down_s=0",
        "--num_runs=3", *flags,
    ]  # fmt: skip


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, capture_output=True, text=True, cwd=TOP, env={**os.environ, "COLUMNS": "200"},
        timeout=300, check=False,
    )  # fmt: skip


def test_benchmark_prints_a_table_and_keeps_what_worked(adb_server, phone, model, player, tmp_path):
    output = tmp_path / "report.json"
    fail = 'case "$graph" in *model_1.tflite) echo "ERROR: Failed to apply X."; exit 1;; esac'
    done = run(
        *command("benchmark_android", adb_server),
        f"--benchmark_binary={player(before=fail, csv='profile_start.csv')}",
        f"--models={model('a.tflite')},{model('b.tflite')}",
        "--rounds=2",
        "--enable_op_profiling",
        f"--profile_dir={tmp_path / 'profiles'}",
        f"--output={output}",
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "b.tflite: `benchmark_model` ended with exit code 1: Failed to apply X." in last
    assert "Traceback" not in done.stderr
    assert "a.tflite" in done.stdout
    assert "2.781" in done.stdout
    assert "AVERAGE_POOL_2D" in done.stdout
    report = BenchmarkReport.load(output)
    assert [result.runs for result in report.results] == [674]
    assert [Path(failure.model).name for failure in report.failures] == ["b.tflite"]
    assert len(list((tmp_path / "profiles").iterdir())) == 1
    assert phone.left_over() == []


def test_benchmark_cleans_up_when_it_is_terminated(adb_server, phone, model, player):
    words = command(
        "benchmark_android", adb_server, f"--benchmark_binary={player(before='sleep 60')}"
    )
    process = subprocess.Popen(
        [*words, f"--models={model()}"], cwd=TOP, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 180
    while not any("--graph=" in line for line in phone.commands) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert phone.left_over() == []
    assert phone.running() == []


def test_profile_latency_writes_a_table(adb_server, phone, litert_program, tmp_path):
    output = tmp_path / "table.json"
    words = command("profile_latency", adb_server, f"--output={output}", "--device=android")
    words += [f"--benchmark_binary={litert_program}", "--operations=conv,add", "--sizes=8"]
    done = run(*words, "--kernels=3", "--strides=1", "--channels=4,8")
    assert done.returncode == 0, done.stderr
    assert "conv 8×8, kernel 3, float32, 1 thread" in done.stdout
    table = LatencyTable.load(output)
    assert table.device == "Google Pixel 8 (arm64-v8a)"
    assert [len(points) for points in table.points.values()] == [2, 4]
    lines = (tmp_path / "table.json.points.jsonl").read_text().splitlines()
    assert len([json.loads(line) for line in lines]) == 7
    assert phone.left_over() == []
