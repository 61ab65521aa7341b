"""The comparison of cost columns: what it prints, and when it fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import cost_columns
from benchmarks.cost_columns import DNAL, FGNAS, Comparison, Row

ROOT = Path(__file__).resolve().parents[2]


def test_a_row_within_its_tolerance():
    comparison = Comparison(Row(DNAL, "I", "net", "macs", "200.0", "M"), 200.9)
    assert comparison.difference == pytest.approx(0.0045)
    assert not comparison.failed
    assert str(comparison).split() == [
        "DNAL",
        "I",
        "net",
        "macs",
        "200.0",
        "M",
        "200.90",
        "M",
        "+0.45%",
    ]


@pytest.mark.parametrize(("paper", "failed"), [(DNAL, True), (FGNAS, False)])
def test_tolerance_is_the_papers(paper, failed):
    assert Comparison(Row(paper, "I", "net", "macs", "200.0", "M"), 198.2).failed is failed


def test_a_row_outside_says_so():
    comparison = Comparison(Row(DNAL, "I", "net", "macs", "200.0", "M"), 180.0)
    assert str(comparison).endswith("-10.00%  OUTSIDE")


def test_a_known_reason_is_shown_and_does_not_fail():
    comparison = Comparison(Row(DNAL, "I", "net", "macs", "200.0", "M", "a slip"), 180.0)
    assert not comparison.failed
    assert str(comparison).endswith("not reached: a slip")


def test_a_row_without_a_printed_number():
    comparison = Comparison(Row(FGNAS, "-", "net", "macs", None, "M"), 180.0)
    assert comparison.difference is None
    assert not comparison.failed


def test_every_row_names_a_network_and_no_network_is_idle():
    assert {row.network for row in cost_columns.ROWS} == set(cost_columns.NETWORKS)


def test_light_rows_are_reached():
    light = {"ResNet-20 (CIFAR)", "ResNet-56 (CIFAR)", "VGG16 (CIFAR)"}
    rows = [row for row in cost_columns.ROWS if row.network in light]
    assert len(rows) == 6
    assert not any(comparison.failed for comparison in cost_columns.compare(rows))


def test_main_fails_where_a_row_does(monkeypatch, capsys):
    wrong = Row(DNAL, "II", "ResNet-20 (CIFAR)", "macs", "50.0", "M")
    monkeypatch.setattr(cost_columns, "compare", lambda: [Comparison(wrong, 40.55)])
    assert cost_columns.main() == 1
    printed = capsys.readouterr()
    assert "OUTSIDE" in printed.out
    assert printed.err == "1 rows are outside their tolerance.\n"


@pytest.mark.slow
def test_the_command_passes():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.cost_columns"],
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == 1 + len(cost_columns.ROWS)
