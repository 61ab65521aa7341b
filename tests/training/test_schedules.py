from __future__ import annotations

import pytest

from keras_nas.errors import UsageError
from keras_nas.training.schedules import EverySteps, learning_rate


def rates(schedule, steps):
    return [float(schedule(step)) for step in steps]


def test_piecewise_drops_with_the_first_step_after_a_boundary():
    schedule = learning_rate("piecewise", 0.1, 130, 10, boundaries=(30, 80))
    assert rates(schedule, [0, 299, 300, 799, 800, 1299]) == pytest.approx(
        [0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    )


def test_cosine_ends_at_the_final_rate():
    schedule = learning_rate("cosine", 0.1, 4, 10, final=0.02)
    assert rates(schedule, [0, 20, 40]) == pytest.approx([0.1, 0.06, 0.02])


def test_warm_up_rises_from_zero():
    schedule = learning_rate("cosine", 0.1, 5, 10, warmup_epochs=1)
    assert rates(schedule, [0, 5, 10, 50]) == pytest.approx([0, 0.05, 0.1, 0], abs=1e-6)


def test_constant_is_a_number():
    assert learning_rate("constant", 0.1, 3, 10) == 0.1


@pytest.mark.parametrize(
    ("kind", "boundaries"), [("exponential", ()), ("piecewise", (80, 30)), ("piecewise", (3, 3))]
)
def test_schedules_that_make_no_sense_are_refused(kind, boundaries):
    with pytest.raises(UsageError, match="Received"):
        learning_rate(kind, 0.1, 10, 10, boundaries=boundaries)


def test_cosine_restarts_is_sgdr_with_growing_cycles():
    # Cycles of 2 and 4 epochs, 10 steps an epoch: each starts at 0.05 and ends near 0.001.
    schedule = learning_rate(
        "cosine_restarts", 0.05, 6, 10, final=0.001, restart_epochs=2, restart_factor=2
    )
    found = rates(schedule, [0, 10, 19, 20, 40, 59, 60])
    middle = (0.05 + 0.001) / 2
    assert found[0] == found[3] == found[6] == pytest.approx(0.05)
    assert found[1] == found[4] == pytest.approx(middle, rel=1e-3)
    assert found[2] == pytest.approx(0.001, abs=4e-4)
    assert found[5] == pytest.approx(0.001, abs=2e-4)


def test_linear_falls_to_the_final_rate():
    schedule = learning_rate("linear", 0.5, 4, 10)
    assert rates(schedule, [0, 10, 20, 40]) == pytest.approx([0.5, 0.375, 0.25, 0.0])


def test_a_schedule_of_accumulated_batches_moves_on_once_in_a_few():
    schedule = learning_rate("linear", 1.0, epochs=1, steps_per_epoch=4)
    slow = EverySteps.from_config(EverySteps(schedule, 3).get_config())
    assert [float(slow(step)) for step in (0, 2, 3, 5, 6, 11, 12)] == pytest.approx(
        [1, 1, 0.75, 0.75, 0.5, 0.25, 0]
    )
