"""`.h5` files that Keras 2 (tf_keras) writes: their models answer as they did there."""

from __future__ import annotations

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import keras_nas as kn
from tests.loading.keras2_models import MODELS, RANDOM, L, functions, of, saved

pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_a_model_answers_as_in_keras_2(make, tmp_path):
    x, expected = saved(make(), tmp_path / "model.h5")
    found = kn.load_model(tmp_path / "model.h5")(x, training=False)
    keras.tree.assert_same_structure(found, expected)
    for a, b in zip(keras.tree.flatten(found), keras.tree.flatten(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6 * max(1, np.ptp(b)))


def test_what_is_mended_is_said_once(tmp_path, caplog):
    model = tf_keras.Sequential(
        [L.DepthwiseConv2D(3, input_shape=(8, 8, 2)), L.DepthwiseConv2D(3, name="a/b")]
    )
    model.save(tmp_path / "model.h5")
    loaded = kn.load_model(tmp_path / "model.h5")
    (record,) = [r for r in caplog.records if r.name.startswith("keras_nas.loading")]
    assert "DepthwiseConv2D without groups (2 times)" in record.getMessage()
    assert "'/' in a name is now '_'" in record.getMessage()
    assert [layer.name for layer in loaded.layers][1] == "a_b"


def test_stock_layers_stay_stock(tmp_path):
    functions().save(tmp_path / "model.h5")
    loaded = kn.load_model(tmp_path / "model.h5")
    loaded.save(tmp_path / "model.keras")
    x = RANDOM.normal(size=(2, 6, 6, 4)).astype("float32")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "model.keras")(x), loaded(x))


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (lambda: L.Lambda(lambda x: x), r"'lambda.*' is a Lambda.*not run"),
        (lambda: L.TimeDistributed(L.Lambda(lambda x: x)), r"'time_distributed.*' is a Lambda"),
        (lambda: L.LocallyConnected1D(2, 2), "LocallyConnected1D, which Keras 3 has no more"),
        (lambda: L.LSTM(2, time_major=True), r"time_major=True, which Keras .* cannot do"),
        (lambda: Own(name="mine"), "'mine' is of class 'tests>Own'"),
        (lambda: lambda x: tf.linalg.inv(x), r"calls the TensorFlow function tf\.linalg\.inv"),
    ],
)
def test_what_cannot_be_mended_is_named(layer, reason, tmp_path):
    of(layer(), 4, 4).save(tmp_path / "model.h5")
    with pytest.raises(kn.KerasNasError, match=reason) as error:
        kn.load_model(tmp_path / "model.h5")
    assert "\n" not in str(error.value)
    assert str(tmp_path / "model.h5") in str(error.value)


@tf_keras.utils.register_keras_serializable("tests")
class Own(L.Layer):
    def call(self, x):
        return x


def test_weights_that_do_not_fit_are_named(tmp_path):
    of(L.Dense(3, name="head"), 6).save(tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5", "r+") as file:
        del file["model_weights/head/head/kernel:0"]
        file["model_weights/head/head/kernel:0"] = np.zeros((6, 2), "float32")
    with pytest.raises(kn.KerasNasError, match=r"'head' \(Dense\) has weights of shapes"):
        kn.load_model(tmp_path / "model.h5")
