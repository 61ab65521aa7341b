from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nas import Architecture, costs, gates, surgery
from keras_nas.callbacks import AnnealDelta, ResourceBudget
from keras_nas.errors import UsageError
from keras_nas.layers import ScaledSigmoidGate, STEGate
from keras_nas.search import FgnasConfig
from keras_nas.search.fgnas.stage import FgnasStage
from keras_nas.tasks import Classification
from tests.callbacks.fitting import (
    CROSS_ENTROPY,
    BreakOff,
    BrokenOffError,
    fit,
    gated,
    logits,
    no_task,
    sgd,
)
from tests.training.nets import random_images

BEHIND = {"order": "conv_bn_relu_gate", "weights": True}
FULL = {
    "macs": 64 * (9 * 2 * 8 + 9 * 8 * 8 + 8 * 8) + 8 * 4,
    "params": 9 * 2 * 8 + 9 * 8 * 8 + 8 * 8 + 3 * 2 * 8 + 8 * 4 + 4,
}
"""Of the small network, by hand."""


def adam():
    return keras.optimizers.Adam(1e-3)


def built(model):
    architecture = Architecture.from_gates(model, align="pad")
    return costs.count(surgery.build(model, architecture, align="pad"))


def share(found):
    return found / FULL["macs"]


@pytest.fixture(scope="module")
def fitted():
    model = gated(STEGate, optimizer=adam(), **BEHIND)
    budget = ResourceBudget(target_macs="0.4x", look_every=3)
    return model, fit(model, [budget], epochs=5, batches=8)


def test_the_network_is_within_the_budget_and_costs_what_the_logs_say(fitted):
    model, history = fitted
    assert history["macs"][-1] == built(model).macs
    assert built(model).macs <= 0.4 * FULL["macs"]


def test_every_epoch_ends_within_the_plan(fitted):
    """From 1 to 0.4 over 0.6 of five epochs: 0.8, 0.6, 0.4, 0.4, 0.4."""
    _, history = fitted
    for found, most in zip(history["macs"], [0.8, 0.6, 0.4, 0.4, 0.4], strict=True):
        assert share(found) <= most


def test_every_layer_keeps_its_share_and_what_is_tied_stays_together():
    model = gated(STEGate, optimizer=adam(), **BEHIND)
    fit(model, [ResourceBudget(target_params="0.35x", min_share=0.4)], epochs=3)
    assert built(model).params <= 0.35 * FULL["params"]
    a, b, *rest = (gate.mask() for gate in gates.find(model))
    assert min(a.sum(), b.sum()) >= 4  # 0.4 of 8 is 3.2
    for mask in rest:
        np.testing.assert_array_equal(mask, b)


def test_the_loss_has_lambda_times_the_share_of_the_full_network():
    """All of it in the first epoch, whose end closes channels; below the target it is constant."""
    model = gated(STEGate, optimizer=sgd(0.0), loss=no_task, weights=True)
    budget = ResourceBudget(target_macs="0.9x", lambda_r=3.0, reached_at=0.5)
    history = fit(model, [budget], epochs=2, batches=1)
    assert history["loss"] == pytest.approx([3.0, 2.7])
    assert share(history["macs"][0]) <= 0.9


def test_gates_are_fixed_once_the_target_is_met():
    model = gated(STEGate, optimizer=keras.optimizers.Adam(0.02), **BEHIND)
    seen = []
    look = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(
            [gate.mask().tolist() for gate in gates.find(model)]
        )
    )
    history = fit(model, [ResourceBudget(target_macs="0.5x", reached_at=0.5), look], epochs=4)
    assert {gate.mode for gate in gates.find(model)} == {"hard"}
    assert all(masks == seen[8] for masks in seen[8:])
    assert history["macs"][1:] == [history["macs"][1]] * 3


def test_the_penalty_and_its_gradient_are_those_of_the_searchs_stage():
    model = gated(STEGate, **BEHIND)
    generator = np.random.default_rng(0)
    for gate in gates.find(model):
        gate.assign_scores(generator.uniform(-0.05, 0.3, 8))
    task = Classification.of(model)
    config = FgnasConfig(target_macs="0.2x", lambda_r=2.0)
    stage = FgnasStage(model, random_images(), None, task, config)
    budget = ResourceBudget(target_macs="0.2x", lambda_r=2.0)
    budget.set_model(model)
    budget.set_params({"epochs": 1, "steps": 1})
    budget.on_train_begin()
    budget.on_epoch_begin(1)  # where the plan is at the target
    with tf.GradientTape(persistent=True) as tape:
        ours = budget.term()
        theirs = 2.0 * tf.cast(stage.resource() / stage.full, tf.float32)
    assert float(ours) == pytest.approx(float(theirs), rel=1e-6)
    for gate in gates.find(model):
        variable = gate.logits.value
        np.testing.assert_allclose(tape.gradient(ours, variable), tape.gradient(theirs, variable))
    budget.on_train_end()


def test_dnals_gates_are_led_too_while_delta_rises():
    model = gated(ScaledSigmoidGate, weights=True)
    fit(model, [AnnealDelta(10.0), ResourceBudget(target_macs="0.5x")], epochs=5)
    assert built(model).macs <= 0.5 * FULL["macs"]
    assert all(gate.mask().sum() >= 2 for gate in gates.find(model)[:1])


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_budget_is_met_under_mixed_precision(policy):
    model = gated(STEGate, optimizer=adam(), dtype=policy, **BEHIND)
    history = fit(model, [ResourceBudget(target_macs="0.5x")], epochs=2)
    assert built(model).macs <= 0.5 * FULL["macs"]
    assert np.isfinite(history["loss"]).all()


@pytest.mark.parametrize(
    "options", [{"jit_compile": True}, {"steps_per_execution": 3}, {"run_eagerly": True}], ids=str
)
def test_a_budget_is_met_however_the_model_is_compiled(options):
    model = gated(STEGate, **BEHIND)
    model.compile(adam(), CROSS_ENTROPY, **options)
    history = fit(model, [ResourceBudget(target_macs="0.5x", look_every=2)], epochs=2)
    assert share(history["macs"][-1]) <= 0.5
    assert np.isfinite(history["loss"]).all()


def test_a_budget_is_met_on_several_devices(mirrored):
    with mirrored.scope():
        model = gated(STEGate, optimizer=adam(), **BEHIND)
    history = fit(model, [ResourceBudget(target_macs="0.5x")], epochs=2)
    assert history["macs"][-1] == built(model).macs
    assert built(model).macs <= 0.5 * FULL["macs"]


def test_a_fit_that_was_broken_off_goes_on_as_if_it_had_not_been(tmp_path: Path):
    def callbacks():
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup", delete_checkpoint=False)
        return [ResourceBudget(target_macs="0.3x", look_every=2), backup]

    whole = gated(STEGate, optimizer=adam(), **BEHIND)
    expected = fit(whole, callbacks()[:1], epochs=5)
    with pytest.raises(BrokenOffError):
        fit(gated(STEGate, optimizer=adam(), **BEHIND), [*callbacks(), BreakOff(3)], epochs=5)
    resumed = gated(STEGate, optimizer=adam(), **BEHIND)
    history = fit(resumed, callbacks(), epochs=5)
    assert history["macs"] == expected["macs"][3:]
    np.testing.assert_array_equal(logits(resumed), logits(whole))


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_without_the_steps_of_an_epoch_it_looks_at_the_ends():
    model = gated(STEGate, optimizer=adam(), **BEHIND)
    unknown = random_images().filter(lambda *_: True)
    budget = ResourceBudget(target_macs="0.5x")
    history = model.fit(unknown, epochs=2, shuffle=False, verbose=0, callbacks=[budget]).history
    assert share(history["macs"][-1]) <= 0.5


def test_gates_that_were_moved_keep_their_order():
    model = gated(STEGate, optimizer=sgd(0.0), **BEHIND)
    for gate in gates.find(model):
        gate.assign_scores(np.linspace(0.1, 0.8, 8))
    fit(model, [ResourceBudget(target_macs="0.5x")], epochs=2)
    for gate in gates.find(model):
        assert np.all(np.diff(gate.mask().astype(int)) >= 0)
        assert not gate.mask()[0]


ARGUMENTS = [
    ({}, "One of `target_params`, `target_macs`, `target_flops` must be given. Received: none"),
    ({"target_macs": 1, "target_params": 1}, "Received: target_params, target_macs"),
    ({"target_macs": "1.5x"}, "`target_macs` must be"),
    ({"target_macs": "0.5x", "lambda_r": -1}, "`lambda_r`"),
    ({"target_macs": "0.5x", "reached_at": 0}, "`reached_at`"),
    ({"target_macs": "0.5x", "look_every": 0}, "`look_every`"),
    ({"target_macs": "0.5x", "min_share": 2}, "`min_share`"),
]


@pytest.mark.parametrize(("arguments", "said"), ARGUMENTS, ids=[said for _, said in ARGUMENTS])
def test_arguments_that_make_no_sense(arguments, said):
    with pytest.raises(UsageError, match=said):
        ResourceBudget(**arguments)


def test_what_cannot_be_led_is_said_before_a_step():
    model = gated(STEGate, **BEHIND)
    with pytest.raises(UsageError, match="`target_macs` must be from"):
        fit(model, [ResourceBudget(target_macs=10)])
    gates.find(model)[1].mode = "off"
    with pytest.raises(UsageError, match="is off"):
        fit(model, [ResourceBudget(target_macs="0.5x")])


def test_it_is_made_again_from_its_config():
    made = ResourceBudget(target_flops="0.5x", lambda_r=0.5, min_share=0.2)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(made))
    assert isinstance(again, ResourceBudget)
    assert again.get_config() == made.get_config()
