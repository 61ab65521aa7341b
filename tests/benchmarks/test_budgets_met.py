"""When a budget counts as met, by the benchmark of budgets."""

from __future__ import annotations

import pytest

from benchmarks.budgets_met import Reached


@pytest.mark.parametrize(
    ("resource", "small", "over", "good"),
    [
        ("macs", 50.0, 0.0, True),
        ("macs", 49.0, -0.02, True),
        ("macs", 48.9, -0.022, False),
        ("bytes", 50.1, 0.002, False),
        ("ram", 49.5, -0.01, True),
        ("latency_ms", 54.9, 0.098, True),
        ("latency_ms", 45.1, -0.098, True),
        ("latency_ms", 55.1, 0.102, False),
    ],
)
def test_what_counts_as_met(resource, small, over, good):
    reached = Reached("net", resource, 100.0, 50.0, small)
    assert reached.over == pytest.approx(over)
    assert reached.good is good
