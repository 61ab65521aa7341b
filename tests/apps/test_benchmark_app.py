"""apps.benchmark from the command line, on real files."""

from __future__ import annotations

from pathlib import Path

import keras
import pytest

from export.benchmark_schema import BenchmarkReport
from export.tflite import convert
from tests.apps.commands import call


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name, channels in (("wide", 32), ("slim", 4)):
        inputs = keras.Input((16, 16, 3))
        model = keras.Model(inputs, keras.layers.Conv2D(channels, 3)(inputs))
        convert(model, folder / f"{name}.tflite")
    return folder


def test_it_prints_a_table_and_writes_json_and_chart(models, tmp_path):
    ended = call(
        "benchmark",
        f"--models={models}/wide.tflite,{models}/slim.tflite,{models}/lost.tflite",
        "--runs=4", "--warmup=1", f"--output={tmp_path}/report.json",
    )  # fmt: skip
    report = BenchmarkReport.load(tmp_path / "report.json")
    assert [Path(result.model.path).name for result in report.results] == [
        "wide.tflite",
        "slim.tflite",
    ]
    assert report.results[0].samples_ms
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    assert "wide.tflite" in ended.stdout
    assert "speed-" in ended.stdout
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "lost.tflite: No such file or directory" in ended.stderr


def test_a_wrong_command_ends_with_2_and_one_line(models):
    ended = call("benchmark", f"--models={models}/wide.tflite", "--threads=0")
    assert ended.returncode == 2
    assert ended.stderr == "Error: `threads` must be 1 or more. Received: threads=(0,)\n"
