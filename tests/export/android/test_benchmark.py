"""The Android benchmark, over the real adb and a phone that executes what it is sent."""

from __future__ import annotations

import hashlib
import shlex
from pathlib import Path

import pytest

from export.android.adb import AdbError, DeviceFullError, DeviceLostError
from export.android.benchmark import benchmark
from export.android.benchmark_config import AndroidBenchmarkConfig
from export.android.thermal import CoolDown
from export.benchmark_schema import BenchmarkReport
from export.latency.grid import GridPoint
from export.latency.profile import LatencyProfileConfig, on_android, profile
from keras_nas.costs import Condition
from keras_nas.errors import UsageError
from tests.export.fake_android import thermal_dump


@pytest.fixture
def run(adb_server):
    """Runs the benchmark without waiting; a test may give its own `sleep`."""

    def call(models, binary, sleep=lambda seconds: None, **settings):
        settings = {"rounds": 1, "num_runs": 4, "timeout_s": 20.0, **settings}
        config = AndroidBenchmarkConfig(models, binary, adb_server_port=adb_server.port, **settings)
        return benchmark(config, sleep)

    return call


def tool_runs(phone) -> list[list[str]]:
    """The words of each call of the tool on the phone, from its own name on."""
    calls = []
    for line in phone.commands:
        words = shlex.split(line.partition("; printf")[0])
        if words[:2] == ["sh", "-c"] and "exec" in words[2]:
            start = next(i for i, word in enumerate(words) if word.endswith("/benchmark_model"))
            calls.append(words[start:])
    return calls


def graphs(phone) -> list[str]:
    return [Path(call[1].removeprefix("--graph=")).name for call in tool_runs(phone)]


def test_measures_real_models_in_turns_and_leaves_nothing(
    run, phone, model, litert_program, tmp_path
):
    small, large = model("small.tflite", 8), model("large.tflite", 512)
    output = tmp_path / "report.json"
    report = run([small, large], litert_program, rounds=2, threads=(1, 2), output=str(output))
    assert report.failures == []
    assert [[(one.accelerator, one.short) for one in r.coverage] for r in report.results] == [
        [("gpu", "whole")]
    ] * 4
    assert [(Path(r.model.path).name, r.threads) for r in report.results] == [
        ("small.tflite", 1), ("small.tflite", 2), ("large.tflite", 1), ("large.tflite", 2),
    ]  # fmt: skip
    first, third = report.results[0], report.results[2]
    assert first.device.kind == "android"
    assert first.device.name == "Google Pixel 8"
    assert first.device.serial == phone.serial
    assert first.runtime.delegate == "xnnpack"
    assert first.model.sha256 == hashlib.sha256(Path(small).read_bytes()).hexdigest()
    assert (first.input_shapes, first.dtype, first.weights_dtype) == (
        [[1, 8, 8, 4]],
        *["float32"] * 2,
    )
    assert (first.runs, first.warmup) == (8, 5)
    assert first.min_ms <= first.median_ms
    assert first.min_ms <= first.mean_ms
    assert third.min_ms > first.min_ms  # 64 times the work
    assert first.init_ms > 0
    assert first.peak_memory_bytes > 2**20
    assert first.interleaved_with == [large]
    assert BenchmarkReport.load(output) == report
    assert phone.left_over() == []
    assert phone.running() == []


def test_the_models_take_turns_in_changing_order(run, phone, model, player):
    run([model("a.tflite"), model("b.tflite")], player(), rounds=3)
    a, b = "model_0.tflite", "model_1.tflite"
    assert graphs(phone) == [a, b, b, a, a, b]


def test_the_rounds_are_joined(run, phone, model, player):
    (result,) = run([model()], player(), rounds=2).results
    assert (result.runs, result.mean_ms) == (674, pytest.approx(2.94227))
    assert (result.min_ms, result.median_ms, result.p90_ms) == (2.605, 2.781, None)
    assert (result.init_ms, result.samples_ms) == (6.395, [])
    assert result.peak_memory_bytes == round(40.8281 * 2**20)
    assert any("95th percentile of the slowest round: 3.169 ms" in note for note in result.notes)


def test_an_old_tools_missing_figures_stay_missing(run, phone, model, player):
    (result,) = run([model()], player("before_2019.txt")).results
    assert (result.median_ms, result.peak_memory_bytes) == (None, None)
    assert result.mean_ms == pytest.approx(66.7676)


def test_the_settings_reach_the_tool(run, phone, model, player):
    run([model()], player(), threads=(3,), num_runs=17, warmup_runs=2)
    (call,) = tool_runs(phone)
    folder = Path(call[0]).parent
    assert call == [
        f"{folder}/benchmark_model",
        f"--graph={folder}/model_0.tflite",
        "--num_threads=3",
        "--num_runs=17",
        "--warmup_runs=2",
        "--use_xnnpack=true",
    ]
    assert folder.parent == Path("/data/local/tmp")


@pytest.mark.parametrize(
    ("settings", "flag", "delegate"),
    [
        ({"use_xnnpack": False}, "--use_xnnpack=false", "none"),
        ({"use_gpu": True}, "--use_gpu=true", "gpu"),
        ({"use_nnapi": True}, "--use_nnapi=true", "nnapi"),
    ],
)
def test_the_delegate_is_chosen(run, phone, model, player, settings, flag, delegate):
    (result,) = run([model()], player(), **settings).results
    assert tool_runs(phone)[0][-1] == flag
    assert result.runtime.delegate == delegate


def test_what_the_delegate_took_stands_in_the_report(run, phone, model, player):
    told = (
        'echo "VERBOSE: Replacing 7 out of 9 node(s) with delegate (TfLiteNnapiDelegate) node, '
        'yielding 3 partitions for subgraph 0."\necho "INFO: Explicitly applied NNAPI delegate, '
        'and the model graph will be partially executed by the delegate w/ 2 delegate kernels."'
    )
    (result,) = run([model("m.tflite", 8)], player(before=told), use_nnapi=True).results
    nnapi, gpu = result.coverage
    assert str(nnapi) == "NNAPI takes 7 of 9 nodes in 2 partitions"
    assert gpu.accelerator == "gpu"


def test_a_delegate_that_takes_nothing_is_a_failure(run, phone, model, player):
    refusal = (
        'echo "Though NNAPI delegate is explicitly applied, the model graph will not be executed '
        'by the delegate."'
    )
    report = run([model()], player(before=refusal), use_nnapi=True)
    assert report.results == []
    assert "The nnapi delegate took no operation" in report.failures[0].message


def test_xnnpack_that_takes_nothing_is_said(run, phone, model, player):
    refusal = (
        'echo "Though XNNPACK delegate is explicitly applied, the model graph will not be executed '
        'by the delegate."'
    )
    (result,) = run([model()], player(before=refusal)).results
    assert result.runtime.delegate == "none"
    assert "The xnnpack delegate took no operation of this model." in result.notes


def test_a_profile_is_never_another_models(run, phone, model, player):
    once = 'case "$graph" in *model_1.tflite) csv=;; esac'
    program = player(before=once, csv="profile_start.csv")
    first, second = run(
        [model("a.tflite"), model("b.tflite")], program, enable_op_profiling=True
    ).results
    assert len(first.profile) == 5
    assert second.profile == []
    assert "No profile: the tool printed no table of operations." in second.notes


def test_a_mask_binds_the_tool_to_processors(run, phone, model, player):
    (result,) = run([model()], player(), cpu_affinity="1").results
    assert any("taskset 1 /data/local/tmp/keras_nas-" in line for line in phone.commands)
    assert any("mask 1" in note for note in result.notes)


def test_a_hostile_name_is_measured_and_never_run(run, phone, model, player, tmp_path):
    path = model("a; reboot $(touch pwned) `touch pwned` 'y'.tflite")
    (result,) = run([path], player(), enable_op_profiling=True).results
    assert result.model.path == path
    assert not [line for line in phone.commands if "reboot" in line]
    assert phone.left_over() == []
    assert not list(tmp_path.rglob("pwned"))


def test_pulls_and_reads_the_profile(run, phone, model, player, tmp_path):
    program = player("percentiles.txt", csv="profile_start.csv")
    report = run(
        [model("net.tflite")], program, enable_op_profiling=True, profile_dir=str(tmp_path / "p")
    )
    (result,) = report.results
    assert [op.type for op in result.profile] == [
        "CONV_2D", "ELU", "AVERAGE_POOL_2D", "FULLY_CONNECTED", "SOFTMAX",
    ]  # fmt: skip
    assert sum(op.share for op in result.profile) == pytest.approx(1)
    assert result.runs == 337  # the profiled run is slower and does not count
    assert "CONV_2D, 0, 0.11" in (tmp_path / "p" / "model_0-net-threads_1.csv").read_text()
    assert phone.left_over() == []


def test_a_tool_without_csv_prints_the_profile(run, phone, model, player):
    (result,) = run([model()], player("start_column.txt"), enable_op_profiling=True).results
    assert [op.type for op in result.profile] == ["CONV_2D", "DEPTHWISE_CONV_2D", "SOFTMAX"]


def test_a_throttled_phone_is_waited_for(run, phone, model, player):
    phone.thermal = [thermal_dump(2), thermal_dump(1), thermal_dump(0)]
    pauses = []
    (result,) = run([model()], player(), pauses.append).results
    assert pauses == [2.0, 5.0, 5.0]
    assert not any("throttled" in note for note in result.notes)


def test_a_round_that_was_throttled_is_left_out(run, phone, model, player, tmp_path):
    phone.thermal = [thermal_dump(0), thermal_dump(3), thermal_dump(0)]
    twice = f'test -f {tmp_path}/done && sed -i "s/avg): 2942.27/avg): 1000/" {tmp_path}/played.log'
    program = player(before=f"{twice}; touch {tmp_path}/done")
    (result,) = run([model()], program, rounds=2).results
    assert (result.runs, result.mean_ms) == (337, 1.0)
    assert any("Round 1 was throttled: thermal status none" in note for note in result.notes)
    assert any("The 1 throttled rounds are left out" in note for note in result.notes)


def test_a_phone_that_stays_hot_is_measured_and_said_so(run, phone, model, player):
    phone.thermal = thermal_dump(2, skin=45.0)
    pauses = []
    report = run([model()], player(), pauses.append, cool_down=CoolDown(pause_s=1, limit_s=12))
    assert pauses == [1, 5.0, 5.0, 2.0]
    assert any("thermal status moderate, 45 °C" in note for note in report.results[0].notes)


def test_a_hot_housing_is_waited_for(run, phone, model, player):
    phone.thermal = [thermal_dump(0, skin=41.0), thermal_dump(0, skin=35.0)]
    pauses = []
    cool_down = CoolDown(pause_s=0, max_skin_c=36)
    run([model()], player(), pauses.append, cool_down=cool_down)
    assert pauses == [0, 5.0]


def test_a_wrong_hash_stops_before_the_phone(run, phone, model, player):
    with pytest.raises(UsageError, match="`binary` must have the SHA-256 00ff"):
        run([model()], player(), sha256="00ff")
    assert phone.commands == []


def test_the_right_hash_passes(run, phone, model, player):
    program = player()
    digest = hashlib.sha256(Path(program).read_bytes()).hexdigest()
    assert run([model()], program, sha256=digest.upper()).results[0].runtime.version == (
        f"sha256:{digest[:16]}"
    )


def test_missing_files_stop_before_the_phone(run, phone, model, player, tmp_path):
    with pytest.raises(UsageError, match=r"`models` must be files\. Received: 'none\.tflite'"):
        run([model(), "none.tflite"], player())
    with pytest.raises(UsageError, match="`binary` must be a file"):
        run([model()], str(tmp_path / "none"))
    assert phone.commands == []


def test_a_program_for_another_abi_stops_before_it_is_pushed(run, phone, model, tmp_path):
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF" + bytes([2, 1, 1]) + bytes(11) + (62).to_bytes(2, "little"))
    with pytest.raises(AdbError, match="built for x86_64, but the device"):
        run([model()], str(program))
    assert phone.left_over() == []


def test_no_device(run, model, player):
    with pytest.raises(AdbError, match="No Android device is attached"):
        run([model()], player())


def test_an_unauthorised_device(run, attach, model, player):
    attach("refuse")
    with pytest.raises(AdbError, match="is unauthorized"):
        run([model()], player())


def test_two_devices_and_no_serial(run, attach, model, player):
    first, second = attach(), attach()
    with pytest.raises(AdbError, match="choose one by --serial"):
        run([model()], player())
    run([model()], player(), serial=second.serial)
    assert first.commands == []
    assert len(tool_runs(second)) == 1


def test_a_program_that_cannot_be_pushed(run, phone, model, player):
    phone.push_failure = "couldn't create file: Permission denied"
    with pytest.raises(AdbError, match=r"Pushing '.*benchmark_model' .* Permission denied"):
        run([model()], player())
    assert phone.left_over() == []


def test_a_full_disk_costs_only_the_models_that_do_not_fit(run, phone, model, player):
    small, large = model("small.tflite", 8), model("large.tflite", 2048)
    phone.push_failure, phone.push_limit = "write failed: No space left on device", 50_000
    report = run([small, large], player())
    assert [Path(r.model.path).name for r in report.results] == ["small.tflite"]
    assert [f.model for f in report.failures] == [large]
    assert "no room for" in report.failures[0].message
    assert phone.left_over() == []


def test_a_full_disk_at_the_program(run, phone, model, player):
    phone.push_failure = "write failed: No space left on device"
    with pytest.raises(DeviceFullError, match="free some storage"):
        run([model()], player())


def test_a_model_that_takes_too_long_is_ended_and_the_others_go_on(run, phone, model, player):
    hang = 'case "$graph" in *model_0.tflite) exec sleep 60;; esac'
    slow, quick = model("slow.tflite"), model("quick.tflite")
    report = run([slow, quick], player(before=hang), timeout_s=4.0)
    assert [(f.model, f.message) for f in report.failures] == [
        (slow, "`benchmark_model` did not end within 4 s and was ended.")
    ]
    assert [r.model.path for r in report.results] == [quick]
    assert phone.running() == []
    assert phone.left_over() == []


def test_a_failing_tools_own_words_are_kept(run, phone, model, player):
    fail = 'case "$graph" in *model_0.tflite) echo "ERROR: Failed to apply X."; exit 1;; esac'
    bad, good = model("bad.tflite"), model("good.tflite")
    report = run([bad, good], player(before=fail))
    assert report.failures[0].message == (
        "`benchmark_model` ended with exit code 1: Failed to apply X."
    )
    assert [r.model.path for r in report.results] == [good]


def test_a_log_without_a_result_is_a_failure(run, phone, model, player):
    report = run([model()], player("xnnpack_failed.txt"))
    assert "gave no result: Failed to apply XNNPACK delegate." in report.failures[0].message


def test_a_phone_that_is_unplugged_keeps_what_was_measured(run, phone, model, player, tmp_path):
    first, second = model("first.tflite"), model("second.tflite")
    hang = 'case "$graph" in *model_1.tflite) sleep 60;; esac'
    phone.unplug_on = "model_1.tflite --num"
    output = tmp_path / "report.json"
    report = run([first, second], player(before=hang), rounds=2, output=str(output))
    assert [r.model.path for r in report.results] == [first]
    assert report.results[0].runs == 337
    assert sorted(f.model for f in report.failures) == sorted([first, second])
    assert all("went away" in f.message for f in report.failures)
    assert BenchmarkReport.load(output).results == report.results


def test_a_phone_that_is_unplugged_at_once_is_an_error(run, phone, model, player):
    phone.unplug_on, phone.unplug_after_s = "mkdir", 0.0
    with pytest.raises(DeviceLostError, match="went away"):
        run([model()], player())


def test_an_interruption_cleans_up(run, phone, model, player):
    def interrupt(seconds):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run([model()], player(), interrupt)
    assert phone.left_over() == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threads": (0,)}, "`threads` must hold numbers above 0"),
        ({"num_runs": 0}, "`num_runs` must be above 0"),
        ({"rounds": -1}, "`rounds` must be above 0"),
        ({"cpu_affinity": "f0; reboot"}, "`cpu_affinity` must be a hexadecimal mask"),
        ({"use_gpu": True, "use_nnapi": True}, "Only one of `use_gpu` and `use_nnapi`"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        AndroidBenchmarkConfig(**{"models": ["m.tflite"], "binary": "b", **settings})


def test_models_and_binary_must_be_given(run, player):
    with pytest.raises(UsageError, match="`models` must name"):
        run([], player())
    with pytest.raises(UsageError, match=r"`binary` must be .* \(--benchmark_binary\)"):
        run(["m.tflite"], "")
    with pytest.raises(UsageError, match="`binary` must be"):
        on_android(AndroidBenchmarkConfig())


def test_a_phone_fills_a_latency_table(adb_server, phone, litert_program, tmp_path):
    condition = Condition("conv", 16, 16, (3, 3))
    config = AndroidBenchmarkConfig(
        ["grid"], litert_program, num_runs=5, rounds=1, cool_down=CoolDown(0.0),
        adb_server_port=adb_server.port,
    )  # fmt: skip
    table = profile(
        [GridPoint(condition, 16, 8, 2), GridPoint(condition, 16, 128, 2)],
        on_android(config),
        LatencyProfileConfig(str(tmp_path / "table.json")),
    )
    assert table.device == "Google Pixel 8 (arm64-v8a)"
    assert table.runtime.startswith("benchmark_model sha256:")
    narrow, wide = table.points[condition]
    assert wide.ms > narrow.ms > 0
    assert phone.left_over() == []
