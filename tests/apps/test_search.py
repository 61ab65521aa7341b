"""The apps search, sweep, finetune, evaluate and report, as commands."""

from __future__ import annotations

import json

import keras
import pytest

from keras_nas.data import fashion_mnist
from tests.apps.commands import call
from tests.reporting.run_files import write_run

NET = '{"stage_widths": [8, 8, 8]}'


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


def test_a_run_gets_its_page(tmp_path):
    run = write_run(tmp_path / "run")
    done = call("report", run)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(run / "report.html")]
    assert "<title>Run run</title>" in (run / "report.html").read_text(encoding="utf-8")


def test_a_report_of_no_run_is_one_line_and_exit_1(tmp_path):
    done = call("report", tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"Error: {tmp_path} holds no run")


def test_a_report_of_no_folder_is_a_mistake_in_the_command():
    assert call("report").returncode == 2


def test_a_sweep_without_values_is_a_mistake_in_the_command(tmp_path):
    done = call("sweep", f"--run_dir={tmp_path}")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("Error: `values` must be one or more")


@pytest.mark.slow
def test_a_sweep_of_two_values_on_a_little_of_fashion_mnist(tmp_path):
    """A sweep: one weight stage, two searches, one page; the same command again does nothing."""
    assert fashion_mnist.find() is not None, "python -m apps.fetch_data --task=fashion_mnist"
    flags = [
        f"--run_dir={tmp_path}", "--vary=lambda_a", "--values=1e-3,1e-1", "--data=fashion_mnist",
        "--train_examples=600", "--validation_share=0.005", "--model=small_resnet",
        '--model_config={"stage_widths": [8, 8, 8]}', "--stages=weights,architecture,surgery",
        "--weights_epochs=1", "--architecture_epochs=2", "--architecture_learning_rate=0.5",
    ]  # fmt: skip
    done = call("sweep", *flags)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "lambda_a_1e-3, pruned (lambda_a=0.001)" in page
    originals = [
        (tmp_path / name / "original.keras").read_bytes()
        for name in ("weights", "lambda_a_1e-3", "lambda_a_1e-1")
    ]
    assert originals[0] == originals[1] == originals[2]
    again = call("sweep", *flags)
    assert again.returncode == 0, again.stderr
    assert [line for line in again.stdout.splitlines() if line.endswith("done before")] == [
        "weights: done before", "lambda_a_1e-3: done before", "lambda_a_1e-1: done before",
    ]  # fmt: skip
