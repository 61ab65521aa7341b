"""What the benchmark of predicted times calls an error."""

from __future__ import annotations

import pytest

from benchmarks.pruned_latency import error, mean_error


def row(way, predicted, measured):
    return {"network": "a", "way": way, "predicted": predicted, "measured": measured}


def test_errors_by_hand():
    rows = [row("full", 2.0, 1.0), row("branches", 0.9, 1.0), row("groups", 0.53, 0.5)]
    assert error(rows[1]) == pytest.approx(-0.1)
    assert mean_error(rows) == pytest.approx(0.08)
