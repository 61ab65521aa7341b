"""What every gate does alike."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_nas.layers import ScaledEdge, ScaledSigmoidGate, STEGate

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


@pytest.mark.parametrize("kind", [ScaledSigmoidGate, STEGate, ScaledEdge])
def test_saving_and_counting_are_as_before(kind, tmp_path):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, kind(name="gate")(inputs))
    gate = model.get_layer("gate")
    for variable in gate.trainable_variables:
        setattr(gate, variable.name, np.full(variable.shape, 0.5))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras").get_layer("gate")
    for a, b in zip(gate.variables, loaded.variables, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", [ScaledSigmoidGate, STEGate, ScaledEdge])
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
