"""apps.sweep as a command, with real searches."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from keras_nas.data import fashion_mnist
from tests.source_tree import ROOT


def sweep(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "apps.sweep", *arguments],
        capture_output=True, text=True, cwd=ROOT, check=False,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip


def test_no_values_is_a_mistake_in_the_command(tmp_path):
    done = sweep(f"--run_dir={tmp_path}")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("Error: `values` must be one or more")


@pytest.mark.slow
def test_two_values_of_lambda_a_on_a_little_of_fashion_mnist(tmp_path):
    """One weight stage, two searches, one page; the same command again does nothing."""
    assert fashion_mnist.find() is not None, "python -m apps.fetch_data --task=fashion_mnist"
    flags = [
        f"--run_dir={tmp_path}", "--vary=lambda_a", "--values=1e-3,1e-1", "--data=fashion_mnist",
        "--train_examples=600", "--validation_share=0.005", "--model=small_resnet",
        '--model_config={"stage_widths": [8, 8, 8]}', "--stages=weights,architecture,surgery",
        "--weights_epochs=1", "--architecture_epochs=2", "--architecture_learning_rate=0.5",
    ]  # fmt: skip
    done = sweep(*flags)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "lambda_a_1e-3, pruned (lambda_a=0.001)" in page
    originals = [
        (tmp_path / name / "original.keras").read_bytes()
        for name in ("weights", "lambda_a_1e-3", "lambda_a_1e-1")
    ]
    assert originals[0] == originals[1] == originals[2]
    again = sweep(*flags)
    assert again.returncode == 0, again.stderr
    assert [line for line in again.stdout.splitlines() if line.endswith("done before")] == [
        "weights: done before", "lambda_a_1e-3: done before", "lambda_a_1e-1: done before",
    ]  # fmt: skip
