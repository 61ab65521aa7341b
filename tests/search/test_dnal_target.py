from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pytest

from keras_nas import gates, importance
from keras_nas.costs import arena_bytes, tflite_bytes
from keras_nas.errors import UsageError
from keras_nas.layers import ScaledSigmoidGate
from keras_nas.search import DnalConfig, Session, TrainConfig, dnal, run_stage
from keras_nas.search.dnal_stages import GateStage
from keras_nas.tasks import Classification
from tests.training.nets import random_images, small_net

QUIET = Session(progress="off")
CONFIG = DnalConfig(
    strategy="sequential",
    weights=TrainConfig(epochs=1, learning_rate=0.1),
    architecture=TrainConfig(epochs=3, learning_rate=0.1, weight_decay=0.0),
    finetune=TrainConfig(epochs=0),
)


def records(model, **changes):
    net = gates.insert(model, ScaledSigmoidGate)
    config = dataclasses.replace(CONFIG, **changes)
    data = random_images()
    return run_stage(GateStage(net, data, data, Classification.of(model), config), QUIET)


@pytest.mark.parametrize("lambda_a", [0.0, 100.0])
def test_a_search_lands_on_its_target_whatever_lambda_is(lambda_a):
    config = dataclasses.replace(
        CONFIG, lambda_a=lambda_a, target_macs="0.5x", gates_start="identity"
    )
    found = dnal(small_net(), random_images(), config=config, session=QUIET)
    costs = found.architecture.costs
    share = costs["after"]["macs"] / costs["before"]["macs"]
    assert 0.4 < share <= 0.5


def test_a_target_out_of_reach_is_refused_before_training():
    config = dataclasses.replace(CONFIG, target_macs=10)
    with pytest.raises(UsageError, match=r"`target_macs` must be .* or more"):
        dnal(small_net(), random_images(), config=config, session=QUIET)


@pytest.mark.parametrize("strategy", ["sequential", "fading"])
def test_several_targets_are_all_met(strategy):
    config = dataclasses.replace(
        CONFIG, target_macs="0.5x", target_params="0.3x", gates_start="l1", strategy=strategy,
    )  # fmt: skip
    found = dnal(small_net(), random_images(), config=config, session=QUIET)
    costs = found.architecture.costs
    shares = {what: costs["after"][what] / costs["before"][what] for what in ("macs", "params")}
    assert shares["macs"] <= 0.5
    assert shares["params"] <= 0.3
    assert max(shares["macs"] / 0.5, shares["params"] / 0.3) > 0.8


def test_a_file_and_an_arena_are_targets():
    model = small_net()
    config = dataclasses.replace(
        CONFIG,
        target_bytes="int8:0.8x",
        target_ram="int8:0.9x",
        strategy="fading",
        gates_start="l1",
    )
    found = dnal(model, random_images(), config=config, session=QUIET)
    full = tflite_bytes(model, "int8"), arena_bytes(model, "int8")
    left = tflite_bytes(found.small, "int8"), arena_bytes(found.small, "int8")
    assert left[0] <= 0.8 * full[0]
    assert left[1] <= 0.9 * full[1]
    assert left[0] > 0.7 * full[0] or left[1] > 0.8 * full[1]
    costs = found.architecture.costs
    assert costs["after"]["int8_bytes"] == pytest.approx(left[0], rel=0.01)
    assert costs["before"]["int8_ram"] == full[1]


def test_of_several_targets_each_out_of_reach_is_named():
    config = dataclasses.replace(CONFIG, target_macs=10, target_params=20, target_flops="0.9x")
    message = r"`target_params` must be .* or more and `target_macs` must be [\d,]+ or more: "
    with pytest.raises(UsageError, match=message):
        dnal(small_net(), random_images(), config=config, session=QUIET)


def test_the_identity_start_is_nearer_to_the_original_than_the_papers():
    model = small_net()
    far = {}
    for start in ("zero", "identity"):
        first, *others = records(model, gates_start=start)
        far[start] = abs(first["start_loss"] - first["original_loss"])
        assert all("start_loss" not in record for record in others)
    assert far["identity"] < far["zero"] / 5


def test_a_criterion_orders_the_channels_of_each_layer_about_the_start():
    model = small_net()
    net = gates.insert(model, ScaledSigmoidGate)
    config = dataclasses.replace(CONFIG, gates_start="l1")
    stage = GateStage(net, random_images(), None, Classification.of(model), config)
    stage.begin(1)
    logits = np.concatenate([gate.scores() for gate in stage.gates])
    assert (logits.min(), logits.max()) == (5.0, 7.0)
    scores = importance.score(net, "l1")
    for group in importance.tied_groups(net):
        (name, channels), *_ = group.channels.items()
        if len(group.channels) == 1:
            own = channels[:, 0]
            gate = next(gate for gate in stage.gates if gate.name == name)
            assert (np.argsort(gate.scores()[own]) == np.argsort(scores[name][own])).all()


def test_a_collapse_at_the_start_is_a_warning_that_says_what_to_do(caplog):
    net = small_net()
    run = GateStage(
        gates.insert(net, ScaledSigmoidGate), random_images(), None, Classification.of(net), CONFIG
    )
    told = iter([{"top1": 0.8}, {"top1": 0.1}, {"top1": 0.8}, {"top1": 0.79}])
    with caplog.at_level(logging.WARNING):
        run.start(lambda: next(told))
        assert "--gates_start=identity" in caplog.text
        caplog.clear()
        run.start(lambda: next(told))
        assert not caplog.text


def test_the_stage_ends_once_its_gates_are_decided():
    still = TrainConfig(epochs=3, learning_rate=0.0, weight_decay=0.0)
    decided = {"gates_start": "identity", "start_logit": 50.0, "architecture": still}
    assert len(records(small_net(), **decided, stop_decided=True)) == 1
    assert len(records(small_net(), **decided)) == 3
