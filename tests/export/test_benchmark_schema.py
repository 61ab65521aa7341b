"""The shared form of benchmark results."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export import benchmark_schema as schema
from export.accelerators.coverage import Coverage, Left
from keras_nas.errors import KerasNasError


def make_result(**changes):
    result = schema.BenchmarkResult(
        device=schema.Device("android", "Pixel 4", "arm64-v8a", "Android 13", 8, "9A1"),
        runtime=schema.Runtime("benchmark_model", "2.19.0", "xnnpack"),
        model=schema.ModelFile("small.tflite", "0" * 64, 1024),
        input_shapes=[[1, 32, 32, 3]],
        dtype="float32",
        threads=2,
        warmup=5,
        runs=3,
        samples_ms=[1.0, 2.0, 6.0],
        profile=[schema.OpProfile("conv/Relu", "CONV_2D", 0.5, 0.25)],
        interleaved_with=["big.tflite"],
        **schema.summarise([1.0, 2.0, 6.0]),
    )
    return dataclasses.replace(result, **changes)


def test_a_report_survives_the_file(tmp_path):
    report = schema.BenchmarkReport(
        [make_result(), make_result(median_ms=None, p90_ms=None, samples_ms=[])],
        [schema.BenchmarkFailure("c.tflite", "the device was unplugged")],
    )
    report.save(tmp_path / "report.json")
    assert schema.BenchmarkReport.load(tmp_path / "report.json") == report


def test_what_accelerators_take_survives_the_file(tmp_path):
    left = [Left("GATHER", 2, "not documented")]
    coverage = [
        Coverage("xnnpack", "LiteRT", 64, 62, 2, left),
        Coverage("nnapi", "the log", 64, 60, None),
    ]
    report = schema.BenchmarkReport([make_result(macs=1000, coverage=coverage)])
    report.save(tmp_path / "report.json")
    assert schema.BenchmarkReport.load(tmp_path / "report.json") == report


def test_reports_of_before_they_held_coverage_can_be_read():
    content = schema.BenchmarkReport([make_result()]).to_dict()
    for name in ("coverage", "macs"):
        del content["results"][0][name]
    (result,) = schema.BenchmarkReport.from_dict(content).results
    assert (result.coverage, result.macs) == ([], None)
    content["results"][0]["coverage"] = [{"accelerator": "xnnpack"}]
    with pytest.raises(KerasNasError, match="results/0/coverage/0"):
        schema.BenchmarkReport.from_dict(content)


def test_summary_by_hand():
    assert schema.summarise([6.0, 1.0, 2.0]) == pytest.approx(
        {"mean_ms": 3.0, "min_ms": 1.0, "median_ms": 2.0, "p90_ms": 5.2}
    )
    with pytest.raises(KerasNasError, match="one timed run or more"):
        schema.summarise([])


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_summary_equals_numpy(samples):
    summary = schema.summarise(samples)
    assert summary["p90_ms"] == pytest.approx(np.percentile(samples, 90))
    assert summary["median_ms"] == pytest.approx(np.median(samples))


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        (("results", 0, "model", "sha256"), "abc", "results/0/model/sha256"),
        (("results", 0, "threads"), 0, "results/0/threads"),
        (("results", 0, "runtime", "delegate"), "npu", "results/0/runtime/delegate"),
        (("results", 0, "profile", 0, "share"), 1.5, "results/0/profile/0/share"),
        (("schema_version",), 99, "schema_version"),
    ],
)
def test_a_wrong_report_is_refused_with_the_place(path, value, where):
    content = schema.BenchmarkReport([make_result()]).to_dict()
    place = content
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    with pytest.raises(KerasNasError, match=f"at {where}:"):
        schema.BenchmarkReport.from_dict(content)


def test_an_unknown_or_missing_field_is_refused():
    content = schema.BenchmarkReport([make_result()]).to_dict()
    content["results"][0]["median"] = 1.0
    with pytest.raises(KerasNasError, match="median"):
        schema.BenchmarkReport.from_dict(content)
    del content["results"][0]["median"], content["results"][0]["min_ms"]
    with pytest.raises(KerasNasError, match="min_ms"):
        schema.BenchmarkReport.from_dict(content)


def test_no_json_is_one_clear_line(tmp_path):
    (tmp_path / "cut.json").write_text(json.dumps({"results": []})[:-3])
    with pytest.raises(KerasNasError, match=r"Cannot read the benchmark report .*cut\.json"):
        schema.BenchmarkReport.load(tmp_path / "cut.json")


def test_a_model_file_is_known_by_its_content(tmp_path):
    (tmp_path / "m.tflite").write_bytes(b"TFL3")
    model = schema.ModelFile.of(tmp_path / "m.tflite")
    assert model.size_bytes == 4
    assert model.sha256 == hashlib.sha256(b"TFL3").hexdigest()
