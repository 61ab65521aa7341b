from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_nas import Architecture, costs, gates, surgery
from keras_nas.callbacks import StopAtBudget
from keras_nas.errors import UsageError
from keras_nas.layers import ScaledSigmoidGate, STEGate
from tests.callbacks.fitting import fit, gated, sgd

MACS = {8: 64 * (144 + 576 + 64) + 32, 4: 64 * (72 + 144 + 16) + 16, 3: 64 * (54 + 81 + 9) + 12}
"""Of the small network, by the channels that each layer keeps: by hand."""


class Keep(keras.callbacks.Callback):
    """Keeps so many channels of every gate from each epoch on, in mode "soft"."""

    def __init__(self, *kept: int, by: float = 0.1):
        super().__init__()
        self.kept = kept
        self.by = by

    def on_epoch_begin(self, epoch, logs=None):
        for gate in gates.find(self.model):
            gate.assign_scores(np.where(np.arange(8) < self.kept[epoch], self.by, -self.by))


def still(kind):
    return gated(kind, optimizer=sgd(0.0))


def test_fit_ends_after_the_epoch_that_is_within_the_budget():
    model = still(STEGate)
    history = fit(model, [Keep(8, 4, 3, 3), StopAtBudget(target_macs=MACS[3])], epochs=4)
    assert history["macs"] == [MACS[8], MACS[4], MACS[3]]
    assert costs.count(surgery.build(model, Architecture.from_gates(model))).macs == MACS[3]


def test_a_share_is_of_the_network_with_open_gates():
    share = f"{MACS[4] / MACS[8] + 1e-9:.9f}x"
    history = fit(still(STEGate), [Keep(4, 4, 4), StopAtBudget(target_macs=share)], epochs=3)
    assert history["macs"] == [MACS[4]]


def test_rounding_is_counted():
    stop = StopAtBudget(target_macs=MACS[3], round_to=4)
    assert fit(still(STEGate), [Keep(3, 3), stop], epochs=2)["macs"] == [MACS[4], MACS[4]]


def test_dnals_gates_must_be_decided():
    stop = {"target_macs": MACS[3]}
    soft = [Keep(3, 3, by=1.0), StopAtBudget(**stop)]
    assert len(fit(still(ScaledSigmoidGate), soft, epochs=2)["macs"]) == 2
    allowed = [Keep(3, 3, by=1.0), StopAtBudget(**stop, undecided=1.0)]
    assert len(fit(still(ScaledSigmoidGate), allowed, epochs=2)["macs"]) == 1
    decided = [Keep(3, 3, by=9.0), StopAtBudget(**stop)]
    assert len(fit(still(ScaledSigmoidGate), decided, epochs=2)["macs"]) == 1


def test_a_network_whose_gates_cut_it_is_not_the_one_that_was_asked_for():
    history = fit(still(STEGate), [Keep(0, 3, 3), StopAtBudget(target_macs=MACS[3])], epochs=3)
    assert history["macs"] == [0, MACS[3]]


def test_a_fit_that_ends_over_its_budget_says_so(caplog):
    fit(still(STEGate), [Keep(8), StopAtBudget(target_macs=MACS[3])])
    (record,) = [found for found in caplog.records if found.name.startswith("keras_nas")]
    said = f"costs are {{'macs': {MACS[8]}.0}}, the targets {{'macs': {MACS[3]}.0}}"
    assert said in record.getMessage()


def test_several_targets_must_all_be_met():
    stop = StopAtBudget(target_macs=MACS[4], target_params="0.3x")
    history = fit(still(STEGate), [Keep(4, 3, 3), stop], epochs=3)
    assert history["macs"] == [MACS[4], MACS[3]]
    assert history["params"][1] <= 0.3 * 868 < history["params"][0]


def test_it_counts_on_several_devices(mirrored):
    with mirrored.scope():
        model = still(STEGate)
    history = fit(model, [Keep(8, 3, 3), StopAtBudget(target_macs=MACS[3])], epochs=3)
    assert history["macs"] == [MACS[8], MACS[3]]


def test_what_is_no_budget_is_said():
    with pytest.raises(UsageError, match="`undecided` must be from 0 to 1"):
        StopAtBudget(target_macs=1, undecided=2)
    with pytest.raises(UsageError, match="must be given"):
        fit(still(STEGate), [StopAtBudget()])
    with pytest.raises(UsageError, match="`target_params` must be a number above 0"):
        fit(still(STEGate), [StopAtBudget(target_params="2x")])


def test_it_is_made_again_from_its_config():
    made = StopAtBudget(target_params="0.5x", round_to=8, align="extend", undecided=0.0)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(made))
    assert isinstance(again, StopAtBudget)
    assert again.get_config() == made.get_config()
