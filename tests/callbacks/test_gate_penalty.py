from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from keras_nas import gates
from keras_nas.callbacks import AnnealDelta, GatePenalty
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.layers import ScaledSigmoidGate, STEGate
from keras_nas.search import DnalConfig, Session, TrainConfig, run_stage
from keras_nas.search.dnal_stages import GateStage
from keras_nas.tasks import Classification
from tests.callbacks.fitting import BreakOff, BrokenOffError, fit, gated, logits, no_task, sgd
from tests.training.nets import random_images

LAMBDA = 0.2


def one_step(model, scaled=True):
    """A step of λ Σ p alone, at learning rate 1 and δ = 4; the logits start at 0.5."""
    for gate in gates.find(model):
        gate.delta = 4.0
        gate.logits.assign(np.full(8, 0.5))
    return fit(model, [GatePenalty(LAMBDA, scaled)], batches=1)


def expected_step(scaled=True):
    """s − λ δ p (1 − p) with p = sigmoid(δ s), or δ = 1: by hand."""
    delta = 4 if scaled else 1
    p = 1 / (1 + np.exp(-delta * 0.5))
    return 0.5 - LAMBDA * delta * p * (1 - p)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_a_step_follows_the_gradient_under_every_policy(policy):
    model = gated(ScaledSigmoidGate, optimizer=sgd(1.0), loss=no_task, dtype=policy)
    one_step(model)
    np.testing.assert_allclose(logits(model), np.full(24, expected_step()), rtol=1e-6)
    assert all(gate.logits.dtype == "float32" for gate in gates.find(model))


def test_a_step_follows_the_gradient_on_every_replica(mirrored):
    with mirrored.scope():
        model = gated(ScaledSigmoidGate, optimizer=sgd(1.0), loss=no_task)
    history = one_step(model)
    np.testing.assert_allclose(logits(model), np.full(24, expected_step()), rtol=1e-6)
    assert history["loss"] == pytest.approx([LAMBDA * 24 / (1 + np.exp(-2.0))])


def test_a_step_without_delta_as_the_authors_have_it():
    model = gated(ScaledSigmoidGate, optimizer=sgd(1.0), loss=no_task)
    one_step(model, scaled=False)
    np.testing.assert_allclose(logits(model), np.full(24, expected_step(False)), rtol=1e-6)


def test_the_loss_has_the_penalty_and_the_logs_say_what_is_kept():
    without = fit(gated(ScaledSigmoidGate, optimizer=sgd(0.0)), [])
    model = gated(ScaledSigmoidGate, optimizer=sgd(0.0))
    history = fit(model, [GatePenalty(0.01)])
    assert history["loss"][0] - without["loss"][0] == pytest.approx(0.01 * 24 / 2, rel=1e-4)
    assert history["gate_penalty"] == pytest.approx([0.12])
    assert (history["kept_share"], history["undecided_share"]) == ([0.0], [1.0])
    for gate in gates.find(model):
        gate.logits.assign([9.0, -9.0, 9.0, -9.0, 0.0, 1.0, -1.0, 9.0])
    history = fit(model, [GatePenalty(0.01)])
    assert history["kept_share"] == [0.5]
    assert history["undecided_share"] == [3 / 8]


def test_the_validation_loss_has_the_penalty_while_fit_runs_alone():
    model = gated(ScaledSigmoidGate, optimizer=sgd(0.0))
    x, y = (np.zeros((16, 8, 8, 2), "float32"), np.zeros(16, int))
    before = model.evaluate(x, y, verbose=0)
    history = fit(model, [GatePenalty(0.01)], validation_data=(x, y))
    assert history["val_loss"][0] - before == pytest.approx(0.12, rel=1e-4)
    assert model.evaluate(x, y, verbose=0) == before


def test_fit_takes_the_steps_of_the_searchs_stage():
    config = DnalConfig(
        lambda_a=1e-2,
        architecture=TrainConfig(epochs=3, learning_rate=0.1, momentum=0.9, weight_decay=0.0),
    )
    searched = gated(ScaledSigmoidGate)
    task = Classification.of(searched)
    run_stage(
        GateStage(searched, random_images(), None, task, config), session=Session(progress="off")
    )
    fitted = gated(ScaledSigmoidGate)
    fit(fitted, [AnnealDelta(), GatePenalty(1e-2)], epochs=3)
    assert np.ptp(logits(fitted)) > 0.1
    np.testing.assert_allclose(logits(fitted), logits(searched), rtol=1e-4, atol=1e-6)


def test_the_penalty_goes_with_the_fit_and_leaves_the_models_own(tmp_path: Path):
    model = gated(ScaledSigmoidGate)
    own = keras.regularizers.L2(0.5)
    first = gates.find(model)[0]
    first.logits.regularizer = own
    first.logits.assign(np.ones(8))
    seen = []
    look = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda *_: seen.append([float(loss) for loss in model.losses])
    )
    fit(model, [GatePenalty(0.0), GatePenalty(1.0), look], batches=1)
    one = 1 / (1 + np.exp(-1.0))
    np.testing.assert_allclose(seen, [[0.5 * 8 + 8 * one + 16 * 0.5]], rtol=1e-6)
    assert first.logits.regularizer is own
    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").losses == []


def test_a_fit_that_was_broken_off_leaves_nothing_to_the_next():
    model = gated(ScaledSigmoidGate, optimizer=sgd(0.0))
    broken = GatePenalty(1.0)
    with pytest.raises(BrokenOffError):
        fit(model, [broken, BreakOff(0)])
    history = fit(model, [GatePenalty(0.01)])
    assert history["loss"][0] < 3.0
    assert history["gate_penalty"] == pytest.approx([0.12])
    assert model.losses == []


def test_what_cannot_be_penalised_is_said_before_a_step():
    with pytest.raises(UsageError, match="`lambda_a` must be 0 or more"):
        GatePenalty(-1.0)
    with pytest.raises(KerasNasError, match="has no ScaledSigmoidGate"):
        fit(gated(STEGate), [GatePenalty(1.0)])
    model = gated(ScaledSigmoidGate, weights=True)
    for gate in gates.find(model):
        gate.trainable = False
    with pytest.raises(UsageError, match=r"Set `trainable` of the gates to True"):
        fit(model, [GatePenalty(1.0)])


def test_it_is_made_again_from_its_config():
    made = GatePenalty(1e-3, scaled=False)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(made))
    assert isinstance(again, GatePenalty)
    assert again.get_config() == {"lambda_a": 1e-3, "scaled": False}
