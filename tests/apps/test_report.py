"""apps.report as a command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.reporting.run_files import write_run

ROOT = Path(__file__).parents[2]


def report(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "apps.report", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_run_gets_its_page(tmp_path):
    run = write_run(tmp_path / "run")
    result = report(run)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [str(run / "report.html")]
    assert "<title>Run run</title>" in (run / "report.html").read_text(encoding="utf-8")


def test_no_run_is_one_line_and_exit_1(tmp_path):
    result = report(tmp_path)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith(f"Error: {tmp_path} holds no run")


def test_no_folder_is_a_mistake_in_the_command():
    assert report().returncode == 2
