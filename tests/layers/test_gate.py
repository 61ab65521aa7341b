"""What every gate does alike."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nas.layers import ScaledEdge, ScaledSigmoidGate, STEGate

KINDS = [ScaledSigmoidGate, STEGate, ScaledEdge]
VARIABLES = [
    (ScaledSigmoidGate, "delta", 100.0),
    (ScaledSigmoidGate, "logits", [1.0, -2.0, 3.0]),
    (STEGate, "logits", np.arange(6.0).reshape(3, 2)),
    (ScaledEdge, "scale", [0.25]),
]


@pytest.mark.parametrize(("kind", "name", "value"), VARIABLES)
class TestAssigningNumbers:
    def test_they_go_into_the_variable(self, kind, name, value):
        gate = kind()
        gate.build((None, 3))
        variable = getattr(gate, name)
        setattr(gate, name, value)
        assert getattr(gate, name) is variable
        np.testing.assert_array_equal(variable, value)
        assert len(gate.variables) == len({id(v) for v in gate.variables})

    def test_before_the_gate_is_built(self, kind, name, value):
        gate = kind()
        setattr(gate, name, value)
        gate(np.ones((1, 3), "float32"))
        assert isinstance(getattr(gate, name), keras.Variable)
        np.testing.assert_array_equal(getattr(gate, name), value)

    def test_tensors_and_other_variables_do_too(self, kind, name, value):
        gate = kind()
        gate.build((None, 3))
        variable = getattr(gate, name)
        setattr(gate, name, keras.Variable(np.asarray(value, "float32")))
        setattr(gate, name, getattr(gate, name) + 1.0)
        assert getattr(gate, name) is variable
        np.testing.assert_array_equal(variable, np.asarray(value) + 1.0)

    def test_other_shapes_are_refused(self, kind, name, value):
        gate = kind(name="gate")
        gate.build((None, 3))
        for wrong in (np.zeros((5, 5)), None, "high"):
            with pytest.raises(ValueError, match=f"`{name}` of gate 'gate' takes numbers of shape"):
                setattr(gate, name, wrong)


def test_delta_sharpens_what_is_computed():
    gate = ScaledSigmoidGate()
    x = np.ones((1, 2), "float32")
    gate(x)
    gate.logits = [0.1, -0.1]
    gate.delta = 100.0
    np.testing.assert_allclose(gate(x), [[1 / (1 + np.exp(-10)), 1 / (1 + np.exp(10))]], rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_masks_of_keras_are_handed_on(kind):
    inputs = keras.Input((5, 3))
    masked = kind()(keras.layers.Masking()(inputs))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling1D()(masked))
    x = np.ones((1, 5, 3), "float32")
    x[0, 2:] = 0
    for gate in model.layers:
        if isinstance(gate, kind):
            gate.mode = "off"
    np.testing.assert_array_equal(model(x), np.ones((1, 3)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_model_keeps_every_variable_and_the_mode(kind, tmp_path):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, kind(name="gate")(inputs))
    gate = model.get_layer("gate")
    for variable in gate.variables:
        if "float" in variable.dtype:
            variable.assign(np.full(variable.shape, 0.5))
    gate.set_mask([1, 0, 1][: gate.channels])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras").get_layer("gate")
    assert loaded.mode == "hard"
    for a, b in zip(gate.variables, loaded.variables, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", KINDS)
def test_changing_the_mode_needs_no_new_trace(kind):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, kind(name="gate")(inputs))
    gate, traces, found = model.get_layer("gate"), [], []
    gate.set_mask([0, 1, 0, 1][: gate.channels])
    x = np.arange(8, dtype="float32").reshape(2, 4)

    @tf.function
    def run(x):
        traces.append(1)
        return model(x)

    for mode in ("soft", "off", "hard"):
        gate.mode = mode
        found.append(run(x).numpy())
        np.testing.assert_array_equal(found[-1], gate(x))
    assert len(traces) == 1
    np.testing.assert_array_equal(found[1], x)
    assert (found[2] != x).any()


@pytest.mark.parametrize("kind", [ScaledSigmoidGate, STEGate])
def test_replicas_stay_in_step(mirrored, kind):
    def make():
        inputs = keras.Input((4,))
        return keras.Model(inputs, keras.layers.Dense(1)(kind(name="gate")(inputs)))

    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    single = make()
    before = single.get_layer("gate").logits.numpy()
    with mirrored.scope():
        model = make()
    model.set_weights(single.get_weights())
    for net in (single, model):
        with mirrored.scope() if net is model else tf.init_scope():
            net.compile(keras.optimizers.SGD(0.1), "mse")
        net.fit(x, 3 * x[:, :1], epochs=3, batch_size=16, shuffle=False, verbose=0)
    logits = single.get_layer("gate").logits.numpy()
    assert (logits != before).any()
    np.testing.assert_allclose(model.get_layer("gate").logits, logits, atol=1e-5)
