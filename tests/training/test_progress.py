"""The lines that a stage's progress is said in where there is no terminal."""

from __future__ import annotations

import pytest

from keras_nas.training import progress


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass as a test says."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_the_time_left_is_that_of_steps_without_the_traced_ones(clock, capsys):
    reporter = progress.make_progress("lines")
    reporter.start("finetune", 0, 10)
    clock[0] += 60.0  # the first step is traced
    reporter.step(1, "1/2", {"loss": 0.5})
    clock[0] += 8.0
    reporter.step(5, "1/2", {"loss": 0.25})
    clock[0] += 10.0
    reporter.step(10, "2/2", {"loss": 0.125})
    assert capsys.readouterr().err.splitlines() == [
        "finetune  epoch 1/2  step 1/10  loss 0.5",
        "finetune  epoch 1/2  step 5/10  loss 0.25  10 s left",
        "finetune  epoch 2/2  step 10/10  loss 0.125  0 s left",
    ]


def test_a_resumed_stage_counts_the_steps_of_this_call(clock, capsys):
    reporter = progress.make_progress("lines")
    reporter.start("finetune", 6, 10)
    reporter.step(7, "2/2", {})
    clock[0] += 3.0
    reporter.step(8, "2/2", {})
    assert capsys.readouterr().err.splitlines()[-1].endswith("step 8/10    6 s left")
