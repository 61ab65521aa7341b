"""The apps search, finetune and evaluate, as commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import keras
import pytest

from keras_nas.data import fashion_mnist
from tests.source_tree import ROOT

NET = '{"stage_widths": [8, 8, 8]}'


def call(app, *arguments):
    return subprocess.run(
        [sys.executable, "-m", f"apps.{app}", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )


def refused(app, *arguments, code=2):
    done = call(app, *arguments)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    return line


def test_a_usage_error_is_one_line_and_2():
    assert "'fly'" in refused("search", "--run_dir=x", "--stages=weights,fly")


def test_a_missing_file_is_one_line_and_1():
    line = refused("evaluate", "--model=missing.keras", code=1)
    assert "missing.keras, which does not exist" in line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", "--run_dir=x", "--batch_size=0"], "batch_size=0"),
        (["search"], "--run_dir"),
        (["search", "--run_dir=x", "--finetune_boundaries=", "--weights_schedule=piecewise"],
         "boundaries"),
        (["finetune"], "--run_dir"),
        (["evaluate", "--model=x.onnx"], ".h5 or .tflite"),
    ],
)  # fmt: skip
def test_more_usage_errors(arguments, message):
    assert message in refused(*arguments)


@pytest.mark.slow
def test_a_value_of_another_type_is_2():
    done = call("search", "--run_dir=x", "--lambda_a=much")
    assert done.returncode == 2
    assert "lambda_a" in done.stderr


@pytest.mark.slow
def test_finetune_of_no_run_is_1(tmp_path):
    assert "holds no run" in refused("finetune", f"--run_dir={tmp_path}", code=1)


@pytest.mark.slow
def test_a_whole_run_by_commands(tmp_path):
    """All stages on a little of Fashion-MNIST, then two of them alone, then resuming."""
    assert fashion_mnist.find() is not None, "python -m apps.fetch_data --task=fashion_mnist"
    flags = [
        f"--run_dir={tmp_path}", "--data=fashion_mnist", "--train_examples=600",
        "--validation_share=0.005", "--model=small_resnet", f"--model_config={NET}",
        "--batch_size=60", "--weights_epochs=2", "--architecture_epochs=2", "--lambda_a=3e-3",
        "--finetune_epochs=1", "--baseline_epochs=1", "--finetune_batch_size=50",
        "--progress=lines",
    ]  # fmt: skip
    done = call("search", *flags)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "600 of 60,000 training images" in done.stdout
    for row in ("original", "baseline", "pruned", "finetuned", "original.tflite", "small.tflite"):
        assert row in done.stdout
    for plot in ("channels.png", "gates.png", "curves.png", "held_out_pictures.png"):
        assert (tmp_path / "plots" / plot).stat().st_size > 10_000
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert rows["small.tflite"]["top1"] == pytest.approx(rows["finetuned"]["top1"], abs=2e-3)
    assert rows["pruned"]["top1"] == rows["gated"]["top1"]
    kept = (tmp_path / "architecture.json").read_text()

    again = call("search", *flags)
    assert again.returncode == 1
    assert "--resume" in again.stderr
    resumed = call("search", *flags, "--resume", "--stages=weights,architecture")
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    assert (tmp_path / "architecture.json").read_text() == kept

    finetuned = call("finetune", f"--run_dir={tmp_path}", "--finetune_epochs=2", "--overwrite")
    assert finetuned.returncode == 0, finetuned.stderr[-2000:]
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert sum(json.loads(line)["stage"] == "finetune" for line in lines) == 2
    assert json.loads((tmp_path / "config.json").read_text())["settings"]["finetune_epochs"] == 2

    model = tmp_path / "finetuned.keras"
    evaluated = call("evaluate", f"--model={model}", "--data=fashion_mnist")
    values = json.loads(evaluated.stdout)
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert values["top1"] == pytest.approx(rows["finetuned"]["top1"], abs=1e-6)
    assert keras.models.load_model(model, compile=False).count_params() > 0
