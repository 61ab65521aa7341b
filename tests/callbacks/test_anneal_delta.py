from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nas import gates
from keras_nas.callbacks import AnnealDelta, GatePenalty
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.layers import ScaledSigmoidGate, STEGate
from tests.callbacks.fitting import BreakOff, BrokenOffError, fit, gated, images, logits
from tests.training.nets import small_net


class Deltas(keras.callbacks.Callback):
    """δ of each gate in each step."""

    def __init__(self):
        super().__init__()
        self.found = []

    def on_train_batch_end(self, batch, logs=None):
        self.found.append([float(gate.delta.numpy()) for gate in gates.find(self.model)])


@pytest.mark.parametrize(
    ("schedule", "epochs", "expected"),
    [
        ("epoch", None, [1, 10, 100, 1000, 10000]),
        ("epoch", 3, [1, 100, 10000, 10000, 10000]),
        ("authors", None, [6.3095734, 39.810717, 251.18864, 1584.8932, 10000]),
    ],
    ids=["epoch", "three_of_five", "authors"],
)
def test_delta_of_each_epoch(schedule, epochs, expected):
    model = gated(ScaledSigmoidGate)
    history = fit(model, [AnnealDelta(1e4, schedule, epochs)], epochs=5, batches=1)
    assert history["delta"] == pytest.approx(expected)


def test_delta_of_each_step():
    """128^(t / 7) in the steps 0 to 7 of two epochs; the second line goes on in epoch 1."""
    powers = [1, 2, 4, 8, 16, 32, 64, 128]
    for first, expected in ((0, powers), (1, powers[4:])):
        deltas = Deltas()
        model = gated(ScaledSigmoidGate)
        fit(model, [AnnealDelta(128, "step"), deltas], epochs=2, initial_epoch=first)
        np.testing.assert_allclose(deltas.found, np.tile(expected, (3, 1)).T, rtol=1e-6)


@pytest.mark.parametrize("schedule", ["epoch", "step"])
def test_a_fit_that_was_broken_off_goes_on_as_if_it_had_not_been(schedule, tmp_path: Path):
    def callbacks():
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup", delete_checkpoint=False)
        return [AnnealDelta(1e4, schedule), GatePenalty(1e-2), backup]

    whole = gated(ScaledSigmoidGate)
    expected = fit(whole, callbacks()[:2], epochs=5)
    with pytest.raises(BrokenOffError):
        fit(gated(ScaledSigmoidGate), [*callbacks(), BreakOff(3)], epochs=5)
    resumed = gated(ScaledSigmoidGate)
    history = fit(resumed, callbacks(), epochs=5)
    assert history["delta"] == expected["delta"][3:]
    np.testing.assert_array_equal(logits(resumed), logits(whole))


def test_a_model_that_was_saved_goes_on_at_its_epoch(tmp_path: Path):
    whole = gated(ScaledSigmoidGate)
    path = tmp_path / "{epoch}.keras"
    saves = keras.callbacks.ModelCheckpoint(path, save_weights_only=False)
    expected = fit(whole, [AnnealDelta(), GatePenalty(1e-2), saves], epochs=4)
    loaded = keras.saving.load_model(tmp_path / "2.keras")
    assert [float(gate.delta.numpy()) for gate in gates.find(loaded)] == pytest.approx(
        [1e4 ** (1 / 3)] * 3
    )
    history = fit(loaded, [AnnealDelta(), GatePenalty(1e-2)], epochs=4, initial_epoch=2)
    assert history["delta"] == expected["delta"][2:]
    np.testing.assert_array_equal(logits(loaded), logits(whole))


def test_every_replica_has_delta(mirrored):
    with mirrored.scope():
        model = gated(ScaledSigmoidGate)
    history = fit(model, [AnnealDelta(1e4, "step")], epochs=2)
    assert history["delta"] == pytest.approx([1e4 ** (3 / 7), 1e4])
    for gate in gates.find(model):
        local = mirrored.experimental_local_results(gate.delta.value)
        assert [float(value) for value in local] == pytest.approx([1e4, 1e4])


def test_a_gate_that_is_not_soft_keeps_its_delta():
    model = gated(ScaledSigmoidGate)
    first, *others = gates.find(model)
    first.mode = "hard"
    fit(model, [AnnealDelta(1e4)], epochs=2, batches=1)
    assert float(first.delta.numpy()) == 1.0
    assert {float(gate.delta.numpy()) for gate in others} == {1e4}


def test_what_cannot_be_annealed_is_said_before_a_step():
    gated_by_ste = gated(STEGate)
    with pytest.raises(KerasNasError, match="has no ScaledSigmoidGate"):
        fit(gated_by_ste, [AnnealDelta()])
    model = gated(ScaledSigmoidGate)
    gates.set_mode(model, "off")
    with pytest.raises(UsageError, match=r"No gate of 'small_net' is in mode 'soft'"):
        fit(model, [AnnealDelta()])
    gates.set_mode(model, "soft")


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_without_the_steps_of_an_epoch_delta_moves_by_epochs_alone():
    model = gated(ScaledSigmoidGate)
    options = {"epochs": 2, "shuffle": False, "verbose": 0}
    unknown = tf.data.Dataset.from_tensor_slices(images(1)).batch(16).filter(lambda *_: True)
    with pytest.raises(UsageError, match="needs to know the steps of an epoch"):
        model.fit(unknown, callbacks=[AnnealDelta(100, "step")], **options)
    history = model.fit(unknown, callbacks=[AnnealDelta(100)], **options).history
    assert history["delta"] == pytest.approx([1, 100])


@pytest.mark.parametrize(
    "arguments", [{"delta_max": 0.5}, {"delta_schedule": "never"}, {"epochs": 0}], ids=str
)
def test_arguments_that_make_no_sense(arguments):
    with pytest.raises(UsageError, match=next(iter(arguments))):
        AnnealDelta(**arguments)


def test_it_is_made_again_from_its_config():
    made = AnnealDelta(100.0, "step", 7)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(made))
    assert isinstance(again, AnnealDelta)
    assert again.get_config() == made.get_config()


def test_a_model_of_ones_own_may_hold_the_gated_one():
    """A subclass with its own `train_step`."""

    class Wrapped(keras.Model):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def call(self, inputs, training=None):
            return self.inner(inputs, training=training)

    inner = gates.insert(small_net(), ScaledSigmoidGate)
    gates.set_mode(inner, "soft")
    model = Wrapped(inner)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert fit(model, [AnnealDelta(100)], epochs=2, batches=1)["delta"] == pytest.approx([1, 100])
    assert {float(gate.delta.numpy()) for gate in gates.find(inner)} == {100.0}
