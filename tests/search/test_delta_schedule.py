from __future__ import annotations

import itertools

import pytest

from keras_nas.errors import UsageError
from keras_nas.search.delta_schedule import DeltaSchedule


def test_delta_by_epoch_runs_from_one_to_the_maximum():
    """Alg. 1: 1 = δ_1 < … < δ_n; by hand, 1e4^(e/4) in epochs 0 to 4."""
    schedule = DeltaSchedule(1e4, "epoch")
    deltas = [schedule.value(epoch, 0, 5, 7) for epoch in range(5)]
    assert deltas == pytest.approx([1, 10, 100, 1000, 10_000])
    assert schedule.value(3, 6, 5, 7) == deltas[3]
    assert [schedule.value(epoch, 0, 2, 7) for epoch in range(2)] == [1, 1e4]


def test_delta_of_the_papers_20_and_10_epochs():
    schedule = DeltaSchedule(1e4, "epoch")
    for epochs, second in ((20, 1.62378), (10, 2.78256)):  # 10^(4/19) and 10^(4/9)
        deltas = [schedule.value(epoch, 0, epochs, 1) for epoch in range(epochs)]
        assert (deltas[0], deltas[-1]) == (1, pytest.approx(1e4))
        assert deltas[1] == pytest.approx(second, abs=1e-5)
        ratios = [b / a for a, b in itertools.pairwise(deltas)]
        assert ratios == pytest.approx([second] * (epochs - 1), rel=1e-4)


def test_delta_of_a_single_epoch_is_the_maximum():
    assert DeltaSchedule(1e4, "epoch").value(0, 3, 1, 7) == 1e4
    assert DeltaSchedule(1.0, "epoch").value(0, 0, 3, 7) == 1


def test_delta_as_in_the_authors_code():
    schedule = DeltaSchedule(1e4, "authors")
    deltas = [schedule.value(epoch, 0, 10, 7) for epoch in range(10)]
    assert deltas[0] == pytest.approx(2.512, abs=1e-3)
    assert deltas[-1] == pytest.approx(1e4)
    assert schedule.value(3, 6, 10, 7) == deltas[3]
    ratios = [b / a for a, b in itertools.pairwise(deltas)]
    assert ratios == pytest.approx([1e4**0.1] * 9)
    assert schedule.value(0, 0, 1, 7) == 1e4


def test_delta_by_step_runs_from_one_to_the_maximum():
    schedule = DeltaSchedule(1e4, "step")
    deltas = [schedule.value(epoch, step, 2, 3) for epoch in range(2) for step in range(3)]
    assert deltas == pytest.approx([1e4 ** (t / 5) for t in range(6)])


def test_delta_of_a_single_step_is_the_maximum():
    assert DeltaSchedule(1e4, "step").value(0, 0, 1, 1) == 1e4


@pytest.mark.parametrize("options", [{"maximum": 0.5}, {"every": "batch"}])
def test_delta_schedule_refuses(options):
    with pytest.raises(UsageError, match="Received"):
        DeltaSchedule(**options)
