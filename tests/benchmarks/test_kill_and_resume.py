"""Searches that are killed with SIGKILL and resumed end as the unbroken run does."""

from __future__ import annotations

import json
import shutil

import keras
import pytest

from benchmarks.kill_and_resume import compare, kill_and_resume, small_network


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dnal", "fgnas", "dso"])
def test_a_killed_search_ends_as_the_unbroken_one(tmp_path, method):
    outcome = kill_and_resume(method, kills=2, seed=1, work_dir=tmp_path, fork=True)
    assert outcome.differences == ()
    assert len(outcome.kills) == 2


@pytest.fixture
def ends(tmp_path):
    """Two folders with the same end of a run."""
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    (before / "architecture.json").write_text('{"kept_channels": {"conv": [0]}}')
    (before / "metrics.jsonl").write_text('{"stage": "weights", "loss": 1.0, "seconds": 2.0}\n')
    small_network().save(before / "small.keras")
    shutil.copytree(before, after)
    return before, after


def test_only_the_seconds_may_differ(ends):
    before, after = ends
    (after / "metrics.jsonl").write_text('{"stage": "weights", "loss": 1.0, "seconds": 3.0}\n')
    assert list(compare(before, after)) == []


def test_each_difference_is_told(ends):
    before, after = ends
    (after / "architecture.json").write_text(json.dumps({"kept_channels": {"conv": [1]}}))
    (after / "metrics.jsonl").write_text('{"stage": "weights", "loss": 1.5}\n')
    model = keras.models.load_model(after / "small.keras", compile=False)
    bias = model.get_layer("classifier").bias
    bias.assign(bias + 1e-6)
    model.save(after / "small.keras")
    assert list(compare(before, after)) == [
        "architecture.json differs",
        "metrics.jsonl differs",
        "small.keras differs in 1 of 17 weights, such as classifier/bias",
    ]


def test_a_missing_network_is_told(ends):
    before, after = ends
    (after / "small.keras").unlink()
    assert list(compare(before, after)) == ["the saved networks differ"]
