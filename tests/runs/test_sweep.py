"""Sweeps: what is shared, what is skipped, what is refused, what a failure leaves."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time

import pytest

from keras_nas.errors import KerasNasError, UsageError
from keras_nas.runs.config import STAGES as RUN_STAGES
from keras_nas.runs.config import RunConfig, later_settings
from keras_nas.runs.sweep import arguments_of, run_sweep
from keras_nas.runs.sweep_plan import plan_sweep
from keras_nas.search import DnalConfig, DsoConfig, FgnasConfig, TrainConfig
from tests.source_tree import ROOT

# Stands for apps.search: writes down its flags and leaves what each stage leaves.
SEARCH = """
import json, os, pathlib, sys
flags = dict(flag[2:].split("=", 1) for flag in sys.argv[1:])
folder = pathlib.Path(flags["run_dir"])
folder.mkdir(exist_ok=True, parents=True)
if flags["lambda_a"] == "0.5" and not (folder.parent / "mended").exists():
    sys.exit("out of luck")
calls = folder.parent / "calls.jsonl"
with calls.open("a") as file:
    record = {"name": folder.name, "device": os.environ.get("CUDA_VISIBLE_DEVICES"), **flags}
    file.write(json.dumps(record) + "\\n")
path = folder / "results.json"
results = json.loads(path.read_text()) if path.exists() else {"rows": {}, "seconds": {}}
for stage in flags["stages"].split(","):
    results["seconds"][stage] = 1.0
    if stage == "weights":
        for name in ("original.keras", "supernet.keras", "metrics.jsonl"):
            (folder / name).write_text(f"{name} of {folder.name}")
    elif stage == "baseline":
        (folder / "baseline.keras").write_text(f"baseline.keras of {folder.name}")
    elif not (folder / "supernet.keras").exists():
        sys.exit("no supernet")
path.write_text(json.dumps(results))
numbers = ("batch_size", "finetune_epochs", "weights_epochs")
run = {name: int(value) if name in numbers else value for name, value in flags.items()}
names = ("lambda_a", "finetune_epochs", "weights_epochs")
settings = {name: run.pop(name) for name in names}
settings["lambda_a"] = float(settings["lambda_a"])
small = {name: run[name] for name in ("run_dir", "batch_size", "data")}
(folder / "config.json").write_text(json.dumps({"run": small, "settings": settings}))
"""
STAGES = ("weights", "architecture", "surgery", "finetune")


@pytest.fixture
def command(tmp_path):
    script = tmp_path / "search.py"
    script.write_text(SEARCH)
    return [sys.executable, str(script)]


def config_of(tmp_path, **changes):
    return RunConfig(run_dir=str(tmp_path / "sweep"), stages=STAGES, **changes)


def calls(tmp_path):
    text = (tmp_path / "sweep" / "calls.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_the_weight_stage_is_shared_between_the_values_of_lambda_a(tmp_path, command):
    sweep = plan_sweep(config_of(tmp_path), DnalConfig(), "lambda_a", ["1e-4", "2e-4"])
    assert run_sweep(sweep, command) == []
    made = [(call["name"], call["stages"], call["lambda_a"]) for call in calls(tmp_path)]
    assert made == [
        ("weights", "weights", "0.0001"),
        ("lambda_a_1e-4", "architecture,surgery,finetune", "0.0001"),
        ("lambda_a_2e-4", "architecture,surgery,finetune", "0.0002"),
    ]
    for job in sweep.jobs:
        assert job.folder.supernet.read_text() == "supernet.keras of weights"
        assert set(job.folder.read_results()["seconds"]) == set(STAGES)


def test_the_baseline_is_trained_once_too(tmp_path, command):
    config = dataclasses.replace(
        config_of(tmp_path, baseline=TrainConfig(epochs=3)), stages=RUN_STAGES
    )
    sweep = plan_sweep(config, DnalConfig(), "lambda_a", ["1e-4", "2e-4"])
    assert run_sweep(sweep, command) == []
    assert [call["stages"] for call in calls(tmp_path)] == [
        "weights,baseline", *["architecture,surgery,finetune"] * 2,
    ]  # fmt: skip
    for job in sweep.jobs:
        assert job.folder.baseline.read_text() == "baseline.keras of weights"
        assert set(job.folder.read_results()["seconds"]) == set(RUN_STAGES)


def test_a_baseline_without_epochs_is_no_stage(tmp_path):
    config = dataclasses.replace(config_of(tmp_path), stages=RUN_STAGES)
    sweep = plan_sweep(config, DnalConfig(), "lambda_a", ["1e-4"])
    assert sweep.weights.stages == ("weights",)
    assert sweep.jobs[0].stages == ("architecture", "surgery", "finetune")


def test_what_is_done_is_skipped_and_new_values_are_added(tmp_path, command):
    config = config_of(tmp_path)
    run_sweep(plan_sweep(config, DnalConfig(), "lambda_a", ["1e-4"]), command)
    said: list[str] = []
    sweep = plan_sweep(config, DnalConfig(), "lambda_a", ["1e-4", "3e-4"])
    assert run_sweep(sweep, command, say=said.append) == []
    assert said[:2] == ["weights: done before", "lambda_a_1e-4: done before"]
    assert [call["name"] for call in calls(tmp_path)][2:] == ["lambda_a_3e-4"]


def test_an_interrupted_run_goes_on_at_its_stage(tmp_path, command):
    config = config_of(tmp_path)
    sweep = plan_sweep(config, DnalConfig(), "lambda_a", ["1e-4"])
    run_sweep(sweep, command)
    folder = sweep.jobs[0].folder
    results = folder.read_results()
    del results["seconds"]["surgery"]
    folder.results.write_text(json.dumps(results))
    run_sweep(plan_sweep(config, DnalConfig(), "lambda_a", ["1e-4"]), command)
    last = calls(tmp_path)[-1]
    assert (last["stages"], last["resume"]) == ("surgery,finetune", "true")


def test_a_setting_of_the_weight_stage_is_not_shared(tmp_path, command):
    sweep = plan_sweep(config_of(tmp_path), DnalConfig(), "weights_epochs", ["1", "2"])
    assert sweep.weights is None
    assert run_sweep(sweep, command) == []
    assert {call["stages"] for call in calls(tmp_path)} == {",".join(STAGES)}


def test_a_failure_leaves_the_others_and_can_be_mended(tmp_path, command):
    sweep = plan_sweep(config_of(tmp_path), DnalConfig(), "lambda_a", ["0.5", "1e-4"])
    assert run_sweep(sweep, command) == ["lambda_a_0.5"]
    assert calls(tmp_path)[-1]["name"] == "lambda_a_1e-4"
    (tmp_path / "sweep" / "mended").touch()
    assert run_sweep(sweep, command) == []
    assert calls(tmp_path)[-1]["name"] == "lambda_a_0.5"


def test_a_failing_weight_stage_ends_the_sweep(tmp_path, command):
    settings = DnalConfig(lambda_a=0.5)
    with pytest.raises(KerasNasError, match="weight stage"):
        run_sweep(plan_sweep(config_of(tmp_path), settings, "lambda_a", ["1e-4"]), command)


def test_each_device_runs_one_at_a_time(tmp_path, command):
    sweep = plan_sweep(config_of(tmp_path), DnalConfig(), "lambda_a", ["1e-4", "2e-4", "3e-4"])
    assert run_sweep(sweep, command, devices=["0", "1"]) == []
    made = calls(tmp_path)
    assert len(made) == 4
    assert {call["device"] for call in made} <= {"0", "1"}


def test_another_setting_in_a_folder_is_refused_by_name(tmp_path, command):
    config = config_of(tmp_path)
    run_sweep(plan_sweep(config, DnalConfig(), "lambda_a", ["1e-4"]), command)
    longer = dataclasses.replace(config, batch_size=32)
    with pytest.raises(KerasNasError, match="`batch_size` was 128"):
        plan_sweep(longer, DnalConfig(), "lambda_a", ["1e-4"])


@pytest.mark.parametrize(
    ("vary", "values", "message"),
    [
        ("lambda_b", ["1"], "lambda_b"),
        ("lambda_a", [], "one or more"),
        ("lambda_a", ["1", "1"], "all different"),
        ("lambda_a", ["much"], "'much'"),
        ("lambda_a", ["-1"], "lambda_a=-1"),
        ("include", ["x"], "one value"),
    ],
)
def test_mistakes_in_the_command(tmp_path, vary, values, message):
    with pytest.raises(UsageError, match=message):
        plan_sweep(config_of(tmp_path), DnalConfig(), vary, values)


def test_what_the_weight_stage_reads_is_not_later():
    methods = (DnalConfig(), DsoConfig(), FgnasConfig())
    later = frozenset().union(*(later_settings(RunConfig(), settings) for settings in methods))
    assert later >= {"lambda_a", "gamma", "target_macs", "finetune_epochs", "round_to"}
    assert "finetune_batch_size" in later
    for name in ("weights_epochs", "order", "include", "strategy", "seed", "model", "split_ratio"):
        assert name not in later
    for name in ("weights_batch_size", "baseline_epochs", "baseline_batch_size", "cutout_stages"):
        assert name not in later
    for stages, is_later in (
        (("architecture", "finetune"), True),
        (("weights", "finetune"), False),
        (("baseline",), False),
    ):
        config = RunConfig(cutout_stages=stages)
        assert ("cutout" in later_settings(config, DnalConfig())) is is_later


def test_flags_spell_every_setting(tmp_path):
    sweep = plan_sweep(config_of(tmp_path), DsoConfig(), "gamma", ["0.01"])
    flags = arguments_of(sweep.jobs[0], ("surgery",))
    assert {"--gamma=0.01", "--stages=surgery", "--resume=false", "--split=true"} <= set(flags)
    assert "--finetune_boundaries=" in flags


SLOW_SEARCH = """
import pathlib, signal, sys, time
flags = dict(flag[2:].split("=", 1) for flag in sys.argv[1:])
folder = pathlib.Path(flags["run_dir"])
folder.mkdir(parents=True)
def save(*_):
    (folder / "saved").touch()
    sys.exit(1)
signal.signal(signal.SIGTERM, save)
(folder.parent / "started").touch()
time.sleep(60)
"""
SWEEP = """
import sys
from keras_nas.errors import KerasNasError
from keras_nas.search import DnalConfig
from keras_nas.runs.config import RunConfig
from keras_nas.runs.sweep import run_sweep
from keras_nas.runs.sweep_plan import plan_sweep
config = RunConfig(run_dir=sys.argv[1], stages=("weights", "architecture"))
sweep = plan_sweep(config, DnalConfig(), sys.argv[3], ["1", "2"])
try:
    run_sweep(sweep, [sys.executable, sys.argv[2]])
except KerasNasError as error:
    sys.exit(str(error))
"""


@pytest.mark.parametrize("vary", ["lambda_a", "seed"])
def test_sigterm_is_passed_on_and_nothing_more_is_started(tmp_path, vary):
    """In the shared weight stage, and in the first of the runs."""
    search, root = tmp_path / "search.py", tmp_path / "sweep"
    search.write_text(SLOW_SEARCH)
    command = [sys.executable, "-c", SWEEP, str(root), str(search), vary]
    sweep = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    began = time.monotonic()
    while not (root / "started").exists():
        assert time.monotonic() - began < 60
        time.sleep(0.05)
    sweep.terminate()
    _, errors = sweep.communicate(timeout=30)
    assert sweep.returncode == 1
    assert "The sweep was told to stop" in errors
    assert [path.parent.name for path in root.glob("*/saved")] == [
        {"lambda_a": "weights", "seed": "seed_1"}[vary]
    ]
    assert not (root / "seed_2").exists()
