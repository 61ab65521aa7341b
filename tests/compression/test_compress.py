"""A trained network, its data and a budget, in memory."""

from __future__ import annotations

import numpy as np
import pytest

import keras_nas
from keras_nas.compression import CompressConfig
from keras_nas.compression.outcome import OutcomeRow, quality_row
from keras_nas.costs import arena_bytes, count, tflite_bytes
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.search import Session
from tests.training.nets import arrays, random_images, small_net, trained_net

QUIET = Session(progress="off")


@pytest.fixture(scope="module")
def trained():
    return trained_net()


def compressed(model, **settings):
    return keras_nas.compress(
        model, random_images(256), random_images(96, seed=1), session=QUIET, **settings
    )


def test_a_network_is_brought_within_its_budget_and_stays_good(trained):
    before = arrays(trained)
    result = compressed(
        trained, budget={"macs": "0.6x"}, config=CompressConfig(epochs=4, round_to=1)
    )
    share = count(result.small).macs / count(trained).macs
    assert 0.5 < share <= 0.6
    assert result.before["top1"] > 0.9
    assert result.after["top1"] > 0.9
    assert result.outcome.met
    macs = next(row for row in result.outcome.rows if row.name == "macs")
    assert macs.small == count(result.small).macs
    assert macs.asked == pytest.approx(0.6 * macs.original)
    assert "met" in str(result.outcome)
    after = arrays(trained)
    assert all((after[path] == before[path]).all() for path in before)
    stages = [record["stage"] for record in result.history]
    assert stages == ["architecture"] * 2 + ["surgery"] + ["finetune"] * 2
    assert "distill_loss" in result.history[-1]


def test_several_budgets_hold_together(trained):
    result = compressed(
        trained, budget={"macs": "0.8x", "bytes": "int8:0.9x", "ram": "0.9x"},
        config=CompressConfig(epochs=2, round_to=1),
    )  # fmt: skip
    rows = {row.name: row for row in result.outcome.rows}
    assert rows["int8 file"].original == tflite_bytes(trained, "int8")
    assert rows["float32 arena"].small == arena_bytes(result.small)
    assert [rows[name].met for name in ("macs", "int8 file", "float32 arena")] == [True] * 3


def test_what_is_done_is_said_before_it_starts(trained, capsys):
    keras_nas.compress(
        trained, random_images(64), budget={"params": "0.7x"},
        config=CompressConfig(epochs=2), session=Session(progress="lines"),
    )  # fmt: skip
    said = capsys.readouterr().err
    start = said.index("architecture  epoch")
    for line in ("As it is: top1", "Method: DNAL", "SGD from 0.05", "Time: "):
        assert -1 < said.find(line) < start, line


def test_arrays_with_one_hot_labels_will_do(trained):
    images, labels = (
        np.concatenate(parts) for parts in zip(*random_images(96).as_numpy_iterator(), strict=True)
    )
    data = images, np.eye(4)[labels]
    result = keras_nas.compress(
        trained, data, data, budget={"macs": "0.7x"}, config=CompressConfig(epochs=2),
        batch_size=16, session=QUIET,
    )  # fmt: skip
    assert result.plan.pace.steps == 6
    assert result.before["top1"] > 0.9


def test_an_untrained_network_is_refused():
    with pytest.raises(KerasNasError, match=r"no better than a constant.*pixels"):
        compressed(small_net(), budget={"macs": "0.5x"})


def test_a_budget_out_of_reach_is_refused_before_training(trained):
    with pytest.raises(UsageError, match=r"`target_macs` must be .* or more"):
        compressed(trained, budget={"macs": 10.0})


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"mac": 1}, "'mac'"),
        ({}, "A budget must be given"),
        ({"latency_ms": "0.5x"}, "`latency_table` must be given with a target"),
    ],
)
def test_a_budget_of_nothing_known_is_refused(trained, budget, message):
    with pytest.raises(UsageError, match=message):
        compressed(trained, budget=budget)


def test_too_little_time_is_said(trained):
    with pytest.raises(UsageError, match=r"`minutes` must be .* or more: "):
        compressed(trained, config=CompressConfig(target_macs="0.5x", minutes=1e-3))


def test_an_outcome_says_what_was_missed():
    missed = OutcomeRow("macs", 1000.0, 550.0, asked=500.0)
    assert missed.met is False
    assert missed.cells() == ["macs", "1.00 k", "550 (0.55x)", "≤ 500", "missed by 10.0 %"]
    better = quality_row("top1", 0.9, 0.91)
    assert better.cells() == ["top1", "90.00 %", "91.00 %", "", "+1.00 points"]
    other = quality_row("ssim_y", 0.9, 0.8, of="int8")
    assert other.cells() == ["int8 ssim y", "0.9", "0.8", "", "-0.1"]
