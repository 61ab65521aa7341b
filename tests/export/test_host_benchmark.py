"""The host benchmark: real files are run, and the report holds what was measured.

No test asserts how long something takes.
"""

from __future__ import annotations

import dataclasses
import io
import time

import keras
import numpy as np
import pytest
from rich.console import Console

from export import host_benchmark
from export.benchmark_config import HostBenchmarkConfig
from export.benchmark_schema import BenchmarkReport, ModelFile, OpProfile, summarise
from export.benchmark_table import (
    arithmetic_text,
    coverage_lines,
    draw_chart,
    profile_table,
    results_table,
    speed_up,
)
from export.errors import ExportError
from export.host_benchmark import benchmark
from export.tflite import convert
from keras_nas.errors import UsageError

FAST = HostBenchmarkConfig(warmup=1, runs=7, rounds=3, profile=False, memory=False)


@pytest.fixture(scope="module")
def report(float_file, uint8_file):
    config = HostBenchmarkConfig(threads=(1, 2), warmup=2, runs=20, rounds=4)
    return benchmark([float_file, uint8_file], config)


def printed(table, width=100):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def test_every_model_is_measured_with_every_number_of_threads(report, float_file, uint8_file):
    places = [(result.model.path, result.threads) for result in report.results]
    paths = [str(float_file), str(uint8_file)]
    assert places == [(path, threads) for threads in (1, 2) for path in paths]
    assert report.failures == []
    for result in report.results:
        assert len(result.samples_ms) == result.runs == 20
        assert min(result.samples_ms) > 0
        for name, value in summarise(result.samples_ms).items():
            assert getattr(result, name) == value
        assert result.interleaved_with == [p for p in paths if p != result.model.path]
        assert result.model == ModelFile.of(result.model.path)
        assert result.input_shapes == [[1, 16, 16, 3]]
        assert result.device.kind == "host"
        assert (result.runtime.name, result.runtime.delegate) == ("ai_edge_litert", "xnnpack")
    assert [result.dtype for result in report.results[:2]] == ["float32", "uint8"]
    assert [result.weights_dtype for result in report.results[:2]] == ["float32", "int8"]


def test_the_profile_names_the_network_s_operations(report):
    for result in report.results:
        assert result.notes == []
        kinds = " ".join(operation.type for operation in result.profile)
        assert kinds.count("IGEMM") >= 2
        assert kinds.count("DWConv") == 1
        assert kinds.lower().count("softmax") == 1
        assert sum(operation.share for operation in result.profile) <= 1.0 + 1e-6


def test_the_profile_counts_the_operations_of_a_graph_in_parts(tmp_path):
    x = inputs = keras.Input((8, 8, 4))
    for number in range(3):
        x = keras.layers.Conv2D(4, 3, name=f"conv{number}")(x)
        x = keras.ops.take(x, np.array([2, 0, 1, 3], "int32"), axis=-1)
    file = convert(keras.Model(inputs, x), tmp_path / "parts.tflite")
    (result,) = benchmark([file.path], HostBenchmarkConfig(runs=5, memory=False)).results
    assert [one.short for one in result.coverage] == ["3/6 in 3", "3/6 in 3"]
    assert result.macs == 4 * 36 * (36 + 16 + 4)
    kinds = [operation.type for operation in result.profile]
    assert sum("IGEMM" in kind for kind in kinds) == 3
    assert kinds.count("GATHER") == 3
    assert sum(operation.share for operation in result.profile) == pytest.approx(1.0)


def test_the_table_says_what_accelerators_take_and_the_notes_what_is_cut(tmp_path):
    def net(width, gather):
        x = inputs = keras.Input((8, 8, 4))
        x = keras.layers.Conv2D(width, 3)(x)
        x = keras.ops.take(x, np.array([2, 0], "int32"), axis=-1) if gather else x
        return keras.Model(inputs, keras.layers.Conv2D(4, 3)(x))

    files = [
        convert(net(width, width < 8), tmp_path / f"{name}.tflite").path
        for name, width in (("wide", 16), ("cut", 6), ("slim", 8))
    ]
    report = benchmark(files, FAST)
    table = printed(results_table(report))
    assert "xnn-" in table
    assert "gpu" in table
    assert table.count("whole") == 4
    assert table.count("2/3") == table.count("in 2") == 2
    wide, cut, slim = report.results
    assert wide.notes == slim.notes == []
    assert len(cut.notes) == 2
    assert cut.notes[0].startswith("0.30× the macs of wide.tflite, but 2 partitions of XNNPACK in")
    assert coverage_lines(report) == [
        "cut.tflite: The GPU delegate takes 2 of 3 nodes in 2 partitions; left: GATHER ×1 (not "
        "documented, though newer delegates take it)",
        "cut.tflite: XNNPACK takes 2 of 3 nodes in 2 partitions; left: GATHER ×1",
    ]


def test_the_table_fits_80_columns(report):
    slow = dataclasses.replace(
        report.results[0], median_ms=123.4567, p90_ms=123.4567, min_ms=123.4567
    )
    table = printed(results_table(BenchmarkReport([slow, *report.results])), width=80)
    assert "…" not in table
    assert table.count("123.457") == 3
    assert "whole" in table


def test_the_arithmetic_s_rate_leaves_out_what_moves_values(report):
    profile = [
        OpProfile("a", "Delegate/Convolution (NHWC, F32) IGEMM", 0.06, 0.6),
        OpProfile("b", "GATHER", 0.03, 0.3),
        OpProfile("c", "Delegate/Fully Connected (NC, F32) GEMM", 0.01, 0.1),
    ]
    result = dataclasses.replace(report.results[0], profile=profile)
    assert arithmetic_text(result, 7_000_000) == "100.0 G macs/s, 30.0% of the time elsewhere"
    assert arithmetic_text(dataclasses.replace(result, profile=[]), 1) == "no profile"


def test_peak_memory_grows_with_the_model(report, tmp_path):
    inputs = keras.Input((64,))
    wide = keras.Model(inputs, keras.layers.Dense(64)(keras.layers.Dense(60_000)(inputs)))
    big = convert(wide, tmp_path / "big.tflite")
    config = HostBenchmarkConfig(warmup=0, runs=1, profile=False)
    (result,) = benchmark([big.path], config).results
    assert big.size_bytes > 30e6
    small = report.results[0].peak_memory_bytes
    assert 0 < small < 30e6 < result.peak_memory_bytes < 200e6


def test_models_take_turns(float_file, uint8_file, monkeypatch):
    turns = []
    original = host_benchmark._Entrant.run

    def run(self, count):
        turns.append(("float" if self.path == str(float_file) else "uint8", count))
        return original(self, count)

    monkeypatch.setattr(host_benchmark._Entrant, "run", run)
    benchmark([float_file, uint8_file], FAST)
    assert turns[:2] == [("float", 1), ("uint8", 1)]
    blocks = [turn for turn in turns[2:] if turn[1] > 1]
    assert [name for name, _ in blocks] == ["float", "uint8"] * 3
    assert [count for name, count in blocks if name == "float"] == [2, 2, 3]


@pytest.mark.parametrize("threads", [1, 2])
def test_before_each_block_the_threads_of_the_model_before_it_come_to_rest(
    float_file, uint8_file, monkeypatch, threads
):
    untimed = []
    original = host_benchmark._Entrant.settle

    def settle(self):
        real, calls = self.interpreter.invoke, []
        self.interpreter.invoke = lambda: calls.append(real())
        start = time.perf_counter()
        original(self)
        untimed.append((time.perf_counter() - start, len(calls)))
        self.interpreter.invoke = real

    monkeypatch.setattr(host_benchmark._Entrant, "settle", settle)
    config = dataclasses.replace(FAST, threads=(threads,))
    for result in benchmark([float_file, uint8_file], config).results:
        assert len(result.samples_ms) == config.runs
    assert len(untimed) == 2 * config.rounds
    if threads == 1:
        assert all(calls == 1 for _, calls in untimed)
    else:
        assert all(seconds >= host_benchmark.SETTLE_MS / 1e3 for seconds, _ in untimed)


def test_without_xnnpack_the_built_in_kernels_run(float_file):
    config = HostBenchmarkConfig(warmup=1, runs=3, use_xnnpack=False)
    (result,) = benchmark([float_file], config).results
    assert result.runtime.delegate == "none"
    assert [one.accelerator for one in result.coverage] == ["gpu"]
    assert result.profile == []
    assert result.peak_memory_bytes > 0
    assert "XNNPACK" in result.notes[0]


def test_a_broken_file_is_reported_and_the_others_are_measured(float_file, tmp_path):
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(float_file.read_bytes()[:2000])
    text = tmp_path / "text.tflite"
    text.write_text("this is no model")
    lost = tmp_path / "lost.tflite"
    measured = benchmark([broken, float_file, text, lost], FAST)
    assert [result.model.path for result in measured.results] == [str(float_file)]
    messages = {failure.model: failure.message for failure in measured.failures}
    assert set(messages) == {str(broken), str(text), str(lost)}
    assert "not a .tflite" in messages[str(text)]
    assert "No such file" in messages[str(lost)]


def test_a_model_of_dynamic_size_needs_a_size(tmp_path):
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs))
    path = convert(model, tmp_path / "m.tflite", sizes=[(8, 8)]).path
    refused = benchmark([path], FAST)
    assert "say at which `size`" in refused.failures[0].message
    config = HostBenchmarkConfig(warmup=1, runs=2, size=(12, 10))
    (result,) = benchmark([path], config).results
    assert result.input_shapes == [[1, 12, 10, 3]]
    assert result.notes == ["no profile: the model's size is dynamic"]


def test_a_failing_probe_leaves_a_note(float_file, monkeypatch, tmp_path):
    monkeypatch.setattr(host_benchmark.sys, "executable", str(tmp_path / "python"))
    (tmp_path / "python").write_text("#!/bin/sh\necho 'it broke' >&2\nexit 3\n")
    (tmp_path / "python").chmod(0o755)
    (result,) = benchmark([float_file], HostBenchmarkConfig(warmup=0, runs=2)).results
    assert result.peak_memory_bytes is None
    assert result.profile == []
    assert result.notes == [
        "no memory: the probe ended with 3: it broke",
        "no profile: the probe ended with 3: it broke",
    ]
    assert len(result.samples_ms) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threads": (0,)}, "`threads` must be 1 or more"),
        ({"threads": ()}, "`threads` must be 1 or more"),
        ({"runs": 0}, "`runs` must be 1 or more. Received: runs=0"),
        ({"warmup": -1}, "`warmup` must be 0 or more"),
        ({"size": (12,)}, "`size` must be a height and a width"),
    ],
)
def test_wrong_settings_are_named(arguments, message):
    with pytest.raises(UsageError, match=message):
        HostBenchmarkConfig(**arguments)


def test_models_must_be_different_files(float_file):
    for models in ([], [float_file, float_file]):
        with pytest.raises(ExportError, match="`models` must be one or more different files"):
            benchmark(models, FAST)


def test_the_report_survives_the_file_and_is_shown(report, tmp_path):
    report.save(tmp_path / "report.json")
    assert BenchmarkReport.load(tmp_path / "report.json") == report
    first, second = report.results[:2]
    assert speed_up(second, report.results) == first.median_ms / second.median_ms
    table = printed(results_table(report))
    assert "digits.tflite" in table
    assert f"{first.median_ms:.3f}" in table
    assert f"{speed_up(second, report.results):.2f}×" in table
    assert "DWConv" in printed(profile_table(first))


def test_the_chart_has_a_bar_for_each_result(report, tmp_path):
    draw_chart(report, tmp_path / "chart.svg")
    drawn = (tmp_path / "chart.svg").read_text()
    assert "<svg" in drawn
    draw_chart(report, tmp_path / "chart.png")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")
    draw_chart(BenchmarkReport([]), tmp_path / "empty.png")


def test_random_inputs_are_the_same_every_time(float_file):
    from export.random_inputs import prepare

    outputs = []
    for _ in range(2):
        entrant = host_benchmark._Entrant(str(float_file), 1, FAST)
        prepare(entrant.interpreter, None, seed=3)
        entrant.interpreter.invoke()
        detail = entrant.interpreter.get_output_details()[0]
        outputs.append(entrant.interpreter.get_tensor(detail["index"]))
    np.testing.assert_array_equal(*outputs)
    assert outputs[0].sum() == pytest.approx(1.0, abs=1e-5)
