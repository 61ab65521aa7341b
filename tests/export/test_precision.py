"""Another precision for a while: the model itself computes, with all its state, and is put back."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

from export import parity
from export.errors import ExportError, ParityError
from export.export_model import ExportData, export_model
from export.export_options import ExportOptions
from export.interpreter import Runner
from export.precision import computing_in, half_precision
from export.tflite import convert


def twice(x):
    return 2 * ops.tanh(x)


@pytest.fixture
def mixed():
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def pixels():
    return np.random.default_rng(0).normal(100, 50, (24, 8, 8, 3)).astype("float32")


def stateful_model(pixels):
    """A model in mixed precision with state and code that no configuration holds."""
    adapted = layers.Normalization(name="adapted")
    adapted.adapt(pixels)
    inner = keras.Sequential(
        [layers.Conv2D(4, 1, activation=twice), layers.Lambda(lambda x: x * 3)], name="inner"
    )
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3)(inner(adapted(inputs)))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(4, dtype="float32")(x))


def test_nothing_is_lost_and_all_is_put_back(mixed, pixels):
    model = stateful_model(pixels)
    assert half_precision(model) == "float16"
    own = np.asarray(model(pixels))
    with computing_in(model, "float32"):
        assert half_precision(model) is None
        full = np.asarray(model(pixels))
    with computing_in(model, "float64"):
        exact = np.asarray(model(pixels))
    assert exact.dtype == "float64"
    assert 0 < np.abs(own - full).max() < 5e-3 * np.ptp(own)
    assert 0 < np.abs(full - exact).max() < 1e-5 * np.ptp(own)
    assert half_precision(model) == "float16"
    np.testing.assert_array_equal(model(pixels), own)


def test_variables_in_half_precision_are_cast():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(3, dtype="float16")])
    x = np.random.default_rng(0).random((4, 6), dtype="float32")
    kernel, bias = (np.asarray(w, "float32") for w in model.get_weights())
    with computing_in(model, "float32"):
        found = np.asarray(model(x))
    assert found.dtype == "float32"
    np.testing.assert_allclose(found, x @ kernel + bias, rtol=1e-5)


def test_state_beside_the_variables_reaches_the_file(mixed, pixels, tmp_path):
    model = stateful_model(pixels)
    data = ExportData(held_out=pixels)
    exported, found = export_model(model, tmp_path / "m.tflite", data=data)
    (first,) = Runner(exported.path)([pixels[:1]])
    np.testing.assert_allclose(first, model(pixels[:1]), atol=5e-3 * found.output_range)
    assert 1e-5 < found.worst_relative < 5e-3
    assert any("computes in float16" in note for note in found.notes)


def test_a_file_that_forgot_the_statistics_is_refused(mixed, pixels, tmp_path):
    model = stateful_model(pixels)
    forgetful = stateful_model(pixels)
    forgetful.set_weights(model.get_weights())
    forgetful.get_layer("adapted").mean *= 0
    path = convert(forgetful, tmp_path / "m.tflite").path
    assert not parity.compare(model, path, pixels).passed


def test_the_limits_of_half_precision_hide_no_fault_of_the_file(mixed, pixels, tmp_path):
    """A change of 1 % stays within half precision's limits, but not of the same model's float32."""
    model = stateful_model(pixels)
    path = convert(model, tmp_path / "m.tflite").path
    kernel = model.layers[-1].kernel
    kernel.assign(kernel * 1.01)
    found = parity.compare(model, path, pixels)
    assert found.faults
    assert all("in float32" in fault for fault in found.faults)


def test_a_model_that_overflows_in_half_precision_is_refused(mixed, tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(2)(layers.Rescaling(1e6)(inputs)))
    with pytest.raises(ParityError, match="overflow"):
        export_model(model, tmp_path / "m.tflite")


@pytest.mark.parametrize("given", ["mean", "loaded"])
def test_given_and_loaded_statistics_are_kept(mixed, pixels, tmp_path, given):
    inputs = keras.Input((8, 8, 3))
    norm = layers.Normalization(mean=[90.0, 100.0, 110.0], variance=[2500.0, 900.0, 1600.0])
    if given == "loaded":
        norm = layers.Normalization()
        norm.adapt(pixels)
    x = layers.Discretization(bin_boundaries=[-1.0, 0.0, 1.0])(norm(inputs))
    x = layers.GlobalAveragePooling2D()(ops.cast(x, "float32"))
    model = keras.Model(inputs, layers.Dense(3)(x))
    if given == "loaded":
        model.save(tmp_path / "m.keras")
        model = keras.models.load_model(tmp_path / "m.keras")
    _, found = export_model(model, tmp_path / "m.tflite", data=ExportData(held_out=pixels))
    assert found.output_range > 0.1


def test_a_subclass_with_its_own_call_is_compared_as_it_is(tmp_path):
    class Shifted(keras.Model):
        def call(self, inputs, training=None, mask=None):
            return super().call(inputs, training=training) + 5.0

    inputs = keras.Input((6,))
    model = Shifted(inputs, layers.Dense(3)(inputs))
    exported, _ = export_model(model, tmp_path / "m.tflite")
    x = np.ones((1, 6), "float32")
    np.testing.assert_allclose(Runner(exported.path)([x])[0], model(x), rtol=1e-6)


def test_a_model_that_fails_is_refused_in_one_line(tmp_path):
    inputs = keras.Input((None, None, 3))
    x = layers.Flatten()(layers.Conv2D(2, 3)(inputs))
    model = keras.Model(inputs, ops.reshape(x, (-1, 2, 6, 6)))
    options = ExportOptions(input_shape=(1, 9, 9, 3))
    with pytest.raises(ExportError, match="cannot be called with inputs of the shapes") as caught:
        export_model(model, tmp_path / "m.tflite", options=options)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
