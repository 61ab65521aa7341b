"""SavedModels: those of Keras 2 (tf_keras) answer as they did there; of others one line is said."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import keras_nas as kn
from keras_nas.file_checks import check_model_file, is_model_file
from tests.loading.keras2_models import MODELS, saved

QUICK = (
    "depthwise",
    "frozen batch normalization",
    "hard bidirectional",
    "sequential",
    "built",
    "nested and shared",
    "nested of two",
    "shared layer",
    "statistics",
    "slashes",
)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in MODELS],
)
@pytest.mark.filterwarnings("ignore")  # what Keras 2 says as it saves
def test_a_model_answers_as_in_keras_2(name, tmp_path):
    x, expected = saved(MODELS[name](), tmp_path / "model")
    check_model_file(tmp_path / "model")
    found = kn.load_model(tmp_path / "model")(x, training=False)
    keras.tree.assert_same_structure(found, expected)
    for a, b in zip(keras.tree.flatten(found), keras.tree.flatten(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6 * max(1, np.ptp(b)))


def refused(folder, message):
    with pytest.raises(kn.KerasNasError, match=message) as error:
        kn.load_model(folder)
    assert "\n" not in str(error.value)
    assert str(folder) in str(error.value)


def test_computation_alone_is_said_to_be_no_model(tmp_path):
    inputs = keras.Input((4,))
    keras.Model(inputs, keras.layers.Dense(2)(inputs)).export(tmp_path / "e", verbose=False)
    assert is_model_file(str(tmp_path / "e"))
    refused(tmp_path / "e", r"holds no Keras model.*model.save\('model.keras'\)")
    with pytest.raises(kn.KerasNasError, match="holds no Keras model"):
        check_model_file(tmp_path / "e")
    module = tf.Module()
    module.variable = tf.Variable(1.0)
    tf.saved_model.save(module, str(tmp_path / "m"))
    refused(tmp_path / "m", "holds no Keras model")


@pytest.mark.filterwarnings("ignore")
def test_a_class_of_ones_own_is_named_and_what_is_damaged_said(tmp_path):
    class Subclassed(tf_keras.Model):
        def __init__(self):
            super().__init__()
            self.head = tf_keras.layers.Dense(3)

        def call(self, x):
            return self.head(x)

    model = Subclassed()
    model(np.ones((1, 4), "float32"))
    model.save(tmp_path / "own")
    refused(tmp_path / "own", "'Subclassed', whose `call` is not in the file")
    metadata = tmp_path / "own" / "keras_metadata.pb"
    metadata.write_bytes(metadata.read_bytes()[:200])
    refused(tmp_path / "own", "is broken, or not of TensorFlow")
    metadata.write_bytes(b"")
    refused(tmp_path / "own", "is broken, or not of TensorFlow")
