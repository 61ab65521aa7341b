"""Epochs that a search does not need go to finetuning, along the schedule of what it gets."""

from __future__ import annotations

import dataclasses
import math

import keras
import numpy as np
import pytest

from keras_nas.errors import UsageError
from keras_nas.search import DnalConfig, DsoConfig, FgnasConfig, Session, TrainConfig, dnal, fgnas
from keras_nas.search.dnal import Dnal
from keras_nas.search.method import Context
from keras_nas.search.total_epochs import within_total
from keras_nas.tasks import Classification
from keras_nas.training.trainer import TrainStage, make_optimizer
from tests.training.nets import killed_and_resumed, random_images, small_net

QUIET = Session(progress="off")
STILL = TrainConfig(epochs=3, learning_rate=0.0, weight_decay=0.0)
COSINE = TrainConfig(epochs=1, learning_rate=0.02, schedule="cosine")
DECIDED = DnalConfig(
    strategy="sequential",
    gates_start="identity",
    start_logit=50.0,
    stop_decided=True,
    total_epochs=6,
    weights=TrainConfig(epochs=1),
    architecture=STILL,
    finetune=COSINE,
)


def epochs_of(found):
    stages = [record["stage"] for record in found.history]
    return {stage: stages.count(stage) for stage in dict.fromkeys(stages) if stage != "surgery"}


def rates(training, epochs, steps=10):
    """The learning rate at the beginning of each epoch."""
    optimizer = make_optimizer(training, steps, [keras.Variable(np.zeros(1))], False)
    found = []
    for epoch in range(epochs):
        optimizer.iterations.assign(epoch * steps)
        found.append(float(optimizer.learning_rate))
    return found


def test_a_schedule_of_its_own_spans_what_finetuning_gets():
    training = within_total(COSINE, 8, before=1, learned=2)
    assert training.epochs == 5
    cosine = [0.02 * (1 + math.cos(math.pi * epoch / 5)) / 2 for epoch in range(5)]
    assert rates(training, 5) == pytest.approx(cosine, rel=1e-5)
    assert within_total(COSINE, 0, before=1, learned=None) == COSINE


def test_a_schedule_over_search_and_finetuning_goes_on_where_the_search_stopped():
    part = COSINE.part_of(7, start=3)
    training = within_total(part, 8, before=1, learned=2)
    assert (training.epochs, training.schedule_epochs, training.schedule_start) == (5, 7, 2)
    cosine = [0.02 * (1 + math.cos(math.pi * epoch / 7)) / 2 for epoch in range(2, 7)]
    assert rates(training, 5) == pytest.approx(cosine, rel=1e-5)


def test_decided_gates_leave_their_epochs_to_finetuning():
    found = dnal(small_net(), random_images(), config=DECIDED, session=QUIET)
    assert epochs_of(found) == {"weights": 1, "architecture": 1, "finetune": 4}
    slow = dataclasses.replace(DECIDED, stop_decided=False)
    found = dnal(small_net(), random_images(), config=slow, session=QUIET)
    assert epochs_of(found) == {"weights": 1, "architecture": 3, "finetune": 2}


def test_a_joint_stage_has_the_weights_epochs_too():
    joint = dataclasses.replace(DECIDED, strategy="joint", stop_decided=True, delta_max=1.0)
    found = dnal(small_net(), random_images(), config=joint, session=QUIET)
    assert epochs_of(found) == {"joint": 1, "finetune": 5}


def test_fading_and_finetuning_share_the_schedule_of_the_total():
    config = dataclasses.replace(
        DECIDED, strategy="fading", target_macs="0.5x", gates_start="l1", stop_decided=False
    )
    assert (config.continued(0).schedule_epochs, config.continued(0).schedule_start) == (5, 0)
    finetuning = within_total(Dnal(config).finetuning, 6, before=1, learned=3)
    assert (finetuning.epochs, finetuning.schedule_epochs, finetuning.schedule_start) == (2, 5, 3)


def test_a_target_that_fgnas_reaches_early_leaves_its_epochs_to_finetuning():
    config = FgnasConfig(
        target_macs="0.9x",
        steer="none",
        lambda_r=1e3,
        gate_learning_rate=1.0,
        total_epochs=6,
        weights=TrainConfig(epochs=0),
        search=TrainConfig(epochs=4, learning_rate=0.01),
        finetune=COSINE,
    )
    found = fgnas(small_net(), random_images(), config=config, session=QUIET)
    assert epochs_of(found) == {"architecture": 1, "finetune": 5}


def test_a_finetuning_that_was_killed_resumes_to_the_same(tmp_path, monkeypatch):
    def search(directory, resume):
        keras.utils.set_random_seed(7)
        keras.backend.clear_session()
        session = Session(tmp_path / directory, progress="off", checkpoint_every=1, resume=resume)
        return dnal(small_net(), random_images(), config=DECIDED, session=session)

    expected, resumed = killed_and_resumed(monkeypatch, search, TrainStage, ("finetune", 2, 2))
    assert epochs_of(resumed) == epochs_of(expected) == {
        "weights": 1, "architecture": 1, "finetune": 4,
    }  # fmt: skip
    for a, b in zip(resumed.small.get_weights(), expected.small.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_without_the_searchs_epochs_nothing_is_finetuned():
    context = Context(Classification(4), random_images())
    with pytest.raises(UsageError, match=r"needs `Context\.learned`"):
        Dnal(DECIDED).finetune(small_net(), context)


@pytest.mark.parametrize("kind", [DnalConfig, FgnasConfig, DsoConfig])
def test_totals_that_cannot_be_kept_are_refused(kind):
    search = "search" if kind is FgnasConfig else "architecture"
    options = {"weights": TrainConfig(epochs=2), search: STILL, "finetune": COSINE}
    assert kind(**options, total_epochs=6).total_epochs == 6
    with pytest.raises(UsageError, match=r"`total_epochs` must be 6 or more.*\(2 of the weights"):
        kind(**options, total_epochs=5)
    with pytest.raises(UsageError, match="`total_epochs` must be 0 or more"):
        kind(**options, total_epochs=-1)
    with pytest.raises(UsageError, match="needs a search of 1 epoch or more"):
        kind(**{**options, search: dataclasses.replace(STILL, epochs=0)}, total_epochs=5)
    with pytest.raises(UsageError, match="`finetune_schedule_epochs` must be 0 or 8"):
        kind(**{**options, "finetune": COSINE.part_of(9)}, total_epochs=10)


def test_trials_count_with_all_their_epochs():
    trials = {"target_macs": "0.5x", "lambda_trials": 4}
    with pytest.raises(UsageError, match="must be 14 or more"):
        dataclasses.replace(DECIDED, **trials, total_epochs=13)
    assert dataclasses.replace(DECIDED, **trials, total_epochs=14).learning_epochs == 12
