"""DNAL's stage 2 on the way to a target: what fades, when, and along which learning rate."""

from __future__ import annotations

import dataclasses
import math

import keras
import numpy as np
import pytest

from keras_nas import gates
from keras_nas.errors import UsageError
from keras_nas.importance import tied_groups
from keras_nas.layers import ScaledSigmoidGate
from keras_nas.search import DnalConfig, Session, TrainConfig, dnal, run_stage
from keras_nas.search.dnal import Dnal
from keras_nas.search.dnal_fading import FADE_EVERY, FIRST, LAST_DELTA, FadingStage
from keras_nas.tasks import Classification
from keras_nas.training.trainer import make_optimizer
from tests.training.nets import arrays, killed_and_resumed, random_images, small_net

QUIET = Session(progress="off")
CONFIG = DnalConfig(
    target_macs="0.5x",
    weights=TrainConfig(epochs=0),
    architecture=TrainConfig(epochs=2, learning_rate=0.1, weight_decay=0.0),
    finetune=TrainConfig(epochs=2, learning_rate=0.02, schedule="cosine"),
)


def data():
    return random_images(examples=160, batch=4)


def stage(config=CONFIG, model=None, kind=FadingStage):
    net = gates.insert(model or small_net(), ScaledSigmoidGate)
    return kind(net, data(), None, Classification.of(net), config)


def test_channels_go_as_the_plan_asks_and_weights_learn_beside_them():
    fading = stage()
    before = arrays(fading.model)
    costs = {}

    class Watched(FadingStage):
        def before_step(self, epoch, step, steps):
            super().before_step(epoch, step, steps)
            masks = {gate.name: gate.mask() for gate in self.gates}
            costs[epoch * steps + step] = float(self.resource.exact(masks)) / self.full

    watched = Watched(fading.model, data(), None, fading.task, CONFIG)
    records = run_stage(watched, QUIET)
    after = [costs[step] for step in sorted(costs)]
    assert after[0] > 0.85
    assert after == sorted(after, reverse=True)
    assert all(after[i] == after[i - 1] for i in range(len(after)) if i % FADE_EVERY)
    assert 0.4 < after[-1] <= 0.5
    for path, value in arrays(fading.model).items():
        if "kernel" in path:
            assert (value != before[path]).any(), path
    assert records[-1]["delta"] == pytest.approx(LAST_DELTA, rel=0.5)


def test_the_gates_begin_nearly_open_in_the_order_of_l1():
    fading = stage()
    fading.begin(10)
    for gate in fading.gates:
        assert gate.scores().min() >= FIRST - 1e-5
    tied = {name for group in tied_groups(fading.model) for name in group.channels}
    assert tied == {gate.name for gate in fading.gates}
    for group in tied_groups(fading.model):
        scores = {g.name: g.scores() for g in fading.gates}
        of_units = [scores[name][channels] for name, channels in group.channels.items()]
        for one in of_units:
            np.testing.assert_allclose(one[:, 0], of_units[0][:, 0])


def test_finetuning_goes_on_along_the_schedule_that_the_stage_began():
    """Half of a cosine over 4 epochs each: 0.02 · (1 + cos(π t / 4)) / 2 at epoch t."""
    fading = stage()
    steps = 40
    fading.begin(steps)
    rate = fading.weight_optimizer.learning_rate
    assert float(rate) == pytest.approx(0.02)
    method = Dnal(CONFIG)
    assert (method.finetuning.schedule_epochs, method.finetuning.schedule_start) == (4, 2)
    sequential = dataclasses.replace(CONFIG, strategy="sequential")
    assert Dnal(sequential).finetuning == CONFIG.finetune
    variable = keras.Variable(np.zeros(1, "float32"))
    later = make_optimizer(method.finetuning, steps, [variable], False)
    for epoch in (0, 1):
        later.iterations.assign(epoch * steps)
        expected = 0.02 * (1 + math.cos(math.pi * (2 + epoch) / 4)) / 2
        assert float(later.learning_rate) == pytest.approx(expected, rel=1e-5)


def test_a_longer_schedule_is_entered_where_it_says_and_gone_on_with():
    """The first two of six epochs were the full network's."""
    finetune = dataclasses.replace(CONFIG.finetune.part_of(6, 2), epochs=2)
    config = dataclasses.replace(CONFIG, finetune=finetune)
    assert config.continued(0) == finetune
    method = Dnal(config)
    assert (method.finetuning.schedule_epochs, method.finetuning.schedule_start) == (6, 4)


def test_a_target_alone_makes_a_search_that_lands_on_it_and_leaves_each_layer_its_share():
    found = dnal(small_net(), data(), config=CONFIG, session=QUIET)
    costs = found.architecture.costs
    assert 0.4 < costs["after"]["macs"] / costs["before"]["macs"] <= 0.5
    assert [record["stage"] for record in found.history] == [
        *["architecture"] * 2,
        "surgery",
        *["finetune"] * 2,
    ]
    for name, kept in found.architecture.kept_channels.items():
        assert len(kept) >= 0.1 * found.architecture.channels[name]


def narrowing_net():
    """16 channels on 8×8 pixels, then 16 on 2×2: macs of the first are most of all."""
    inputs = keras.Input((8, 8, 2))
    x = keras.layers.Conv2D(16, 3, padding="same", activation="relu", name="fine_conv")(inputs)
    x = keras.layers.MaxPooling2D(4)(x)
    x = keras.layers.Conv2D(16, 1, activation="relu", name="coarse_conv")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(4)(x))


def test_channels_that_cost_more_fade_faster_where_they_are_priced():
    """Half of the macs: 9,760. Of them 8 fine channels, with 16 coarse ones, would have 9,792.

    A fine channel costs 64 · 18 to make and 4 · 16 to read, a coarse one 4 · 16 and 4. The task
    hardly moves s here.
    """

    def kept(penalty):
        still = dataclasses.replace(CONFIG.architecture, learning_rate=1e-4)
        config = dataclasses.replace(CONFIG, penalty=penalty, architecture=still)
        record = run_stage(stage(config, narrowing_net()), QUIET)[-1]["kept_by_gate"]
        return [record[f"{name}_conv_gate"] for name in ("fine", "coarse")]

    fine, coarse = kept("channels")
    assert fine == 8
    assert abs(fine - coarse) <= 1
    assert kept("macs") == [7, 16]


def test_a_killed_search_resumes_to_the_same_architecture(tmp_path, monkeypatch):
    def search(directory, resume):
        keras.utils.set_random_seed(7)
        keras.backend.clear_session()
        session = Session(tmp_path / directory, progress="off", checkpoint_every=7, resume=resume)
        return dnal(small_net(), data(), config=CONFIG, session=session)

    where = ("architecture", 1, 13)
    expected, found = killed_and_resumed(monkeypatch, search, FadingStage, where)
    assert found.architecture == expected.architecture
    for a, b in zip(found.small.get_weights(), expected.small.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strategy": "fading", "target_macs": 0.0}, "needs a target"),
        ({"gates_start": "zero"}, "`gates_start` that orders"),
        ({"min_share": 1.5}, "`min_share` must be 1 or less"),
    ],
)
def test_what_fading_cannot_do_is_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(CONFIG, **changes)
