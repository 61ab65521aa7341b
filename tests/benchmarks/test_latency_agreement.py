"""What the latency benchmark calls agreement, and the networks that it takes."""

from __future__ import annotations

import pytest

from benchmarks.latency_agreement import SHAPE, agreement, full_networks, pruned_networks
from export.latency.grid import grid_of_operations
from keras_nas.costs import count, timed_operations
from keras_nas.graph import read


def test_agreement_by_hand():
    assert agreement([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]) == (1.0, 0.0)
    r2, error = agreement([1.0, 2.0, 4.0], [1.5, 2.0, 3.0])
    assert r2 == pytest.approx(1 - 1.25 / (14 / 3))
    assert error == pytest.approx((0.5 + 0 + 0.25) / 3)


def test_a_full_networks_grid_has_every_condition_of_its_pruned_forms():
    known = {
        name: {point.condition for point in grid_of_operations(operations, points=1)}
        for name, model in full_networks().items()
        for operations in [timed_operations(read(model, [(1, *SHAPE)]))]
    }
    full = {name: count(model).macs for name, model in full_networks().items()}
    pruned = list(pruned_networks())
    assert len(pruned) == 16
    for name, model in pruned:
        family = name.partition(" ")[0]
        needed = timed_operations(read(model, [(1, *SHAPE)]))
        assert {operation.condition for operation in needed} <= known[family]
        assert count(model).macs < full[family]
