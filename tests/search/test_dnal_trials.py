"""λ_a bisected over DNAL's stage 2: where it lands, and how it resumes."""

from __future__ import annotations

import dataclasses
import logging
import math

import keras
import numpy as np
import pytest
from keras import layers

from keras_nas.errors import UsageError
from keras_nas.search import DnalConfig, Session, TrainConfig, dnal
from keras_nas.search.bisection import Bisection
from keras_nas.search.dnal_trials import TrialsStage, distance
from tests.training.nets import killed_and_resumed, random_images

QUIET = Session(progress="off")
CONFIG = DnalConfig(
    strategy="sequential",
    target_params="0.5x",
    lambda_a=1.0,
    lambda_trials=14,
    gates_start="l1",
    start_logit=1.5,
    weights=TrainConfig(epochs=0),
    architecture=TrainConfig(epochs=2, learning_rate=0.1, weight_decay=0.0),
    finetune=TrainConfig(epochs=0),
)


def wide_net():
    """Two layers of 160 channels, so that one channel is 1 % of half the params."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((8, 8, 2), name="image")
    x = layers.Conv2D(160, 1, strides=4, name="a_conv")(inputs)
    x = layers.ReLU(name="a_relu")(layers.BatchNormalization(name="a_bn")(x))
    x = layers.Conv2D(160, 1, name="b_conv")(x)
    x = layers.ReLU(name="b_relu")(layers.BatchNormalization(name="b_bn")(x))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(4, name="classifier")(x), name="wide_net")


def searched(session=QUIET, **changes):
    config = dataclasses.replace(CONFIG, **changes)
    return dnal(wide_net(), random_images(), config=config, session=session)


def trials_of(found):
    """By trial, the records of its epochs."""
    trials: dict[int, list] = {}
    for record in found.history:
        if record["stage"] == "architecture":
            trials.setdefault(record["trial"], []).append(record)
    return trials


def share_of(found, what="params"):
    costs = found.architecture.costs
    return costs["after"][what] / costs["before"][what]


def test_strengths_go_up_or_down_in_strides_and_then_between_those_that_were_tried():
    tried = Bisection(1e-3)
    tried = tried.after(too_much=True)
    assert tried == Bisection(4e-3, 1e-3, math.inf)
    tried = tried.after(too_much=False)
    assert tried.strength == pytest.approx(2e-3)
    tried = tried.after(too_much=False)
    assert (tried.low, tried.high) == (1e-3, pytest.approx(2e-3))
    assert tried.strength == pytest.approx(math.sqrt(2) * 1e-3)
    assert Bisection(1e-3).after(too_much=False) == Bisection(2.5e-4, 0.0, 1e-3)


def test_of_shares_that_meet_the_target_or_not_the_nearest_is_one_that_does():
    """0.984 is 1.6 % less and meets it; 1.009 is 0.9 % more and does not."""
    shares = [2.0, 1.009, 0.984, 0.5]
    assert min(shares, key=distance) == 0.984
    assert distance(2.0) == distance(0.5) == pytest.approx(math.log(2))


@pytest.fixture(scope="module")
def found():
    return searched()


def test_the_gates_by_themselves_land_within_two_percent(found):
    trials = trials_of(found)
    last = trials[max(trials)][-1]
    assert 1 < len(trials) < 14
    assert 0.98 <= last["of_target"] <= 1
    assert share_of(found) == pytest.approx(0.5 * last["of_target"])
    kept = sum(len(channels) for channels in found.architecture.kept_channels.values())
    assert kept == last["kept"]


def test_each_trial_anneals_anew_with_another_lambda(found):
    trials = trials_of(found)
    assert [[record["delta"] for record in trial] for trial in trials.values()] == [
        pytest.approx([1.0, 1e4])
    ] * len(trials)
    tried = Bisection(CONFIG.lambda_a)
    for trial in trials.values():
        assert [record["lambda_a"] for record in trial] == pytest.approx([tried.strength] * 2)
        assert ["of_target" in record for record in trial] == [False, True]
        tried = tried.after(too_much=trial[-1]["of_target"] > 0.99)


def test_a_trial_is_a_search_of_its_own(found):
    """The last trial's λ_a alone, and without a target, keeps the same channels."""
    last = max(trials_of(found).values(), key=lambda trial: trial[0]["trial"])[-1]
    alone = searched(lambda_trials=0, target_params=0.0, lambda_a=last["lambda_a"])
    assert alone.architecture.kept_channels == found.architecture.kept_channels
    record = [record for record in alone.history if record["stage"] == "architecture"][-1]
    assert record["loss"] == pytest.approx(last["loss"], rel=1e-5)


def test_a_missed_target_keeps_the_nearest_trial_and_says_by_how_much(caplog):
    with caplog.at_level(logging.WARNING):
        found = searched(lambda_trials=2, lambda_a=1e-6, start_logit=6.0)
    trials = trials_of(found)
    assert [trial[-1]["of_target"] for trial in trials.values()] == [pytest.approx(2.0)] * 2
    assert "no λ_a of 2 trials lands on `target_params`" in caplog.text
    assert "100.0 % more" in caplog.text
    assert 0.49 <= share_of(found) <= 0.5


@pytest.mark.parametrize("where", [("architecture", 3, 2), ("architecture", 4, 0)])
def test_a_killed_search_resumes_to_the_same(where, tmp_path, monkeypatch):
    def search(directory, resume):
        keras.backend.clear_session()
        session = Session(tmp_path / directory, progress="off", checkpoint_every=1, resume=resume)
        return searched(session, lambda_trials=3)

    expected, resumed = killed_and_resumed(monkeypatch, search, TrialsStage, where)
    assert resumed.architecture == expected.architecture
    drop = {"seconds"}
    for one, other in zip(expected.history, resumed.history, strict=True):
        assert {k: v for k, v in one.items() if k not in drop} == {
            k: v for k, v in other.items() if k not in drop
        }
    for a, b in zip(resumed.supernet.get_weights(), expected.supernet.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_floor_and_multiples_count_in_what_a_trial_left():
    found = searched(min_share=0.25, round_to=8, lambda_trials=6)
    trials = trials_of(found)
    assert share_of(found) <= 0.5
    for kept in found.architecture.kept_channels.values():
        assert len(kept) >= 40
        assert len(kept) % 8 == 0
    assert all(trial[-1]["of_target"] > 0 for trial in trials.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strategy": "auto"}, "`lambda_trials` needs strategy='sequential' and a target"),
        ({"strategy": "joint"}, "Received: strategy='joint' and a target"),
        ({"target_params": 0.0}, "Received: strategy='sequential' and no target"),
        ({"lambda_a": 0.0}, "needs `lambda_a` above 0"),
        ({"architecture": TrainConfig(epochs=0)}, "`architecture_epochs` of 1 or more"),
        ({"lambda_trials": -1}, "`lambda_trials` must be 0 or more"),
    ],
)
def test_what_has_no_trials_is_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(CONFIG, **changes)
