"""Layers of the user's own, named by --custom_objects."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from apps.custom_objects import register
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.loading import load_model

LAYER = """
import keras

class Tripled(keras.layers.Layer):
    def call(self, inputs):
        return 3 * inputs

NUMBER = 3
"""
REGISTERED = """
import keras

@keras.saving.register_keras_serializable("mine")
class Doubled(keras.layers.Layer):
    def call(self, inputs):
        return 2 * inputs
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The working folder, with two modules; what is registered is forgotten afterwards."""
    (tmp_path / "tripled_layers.py").write_text(LAYER)
    (tmp_path / "doubled_layers.py").write_text(REGISTERED)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    known = dict(keras.saving.get_custom_objects())
    yield tmp_path
    keras.saving.get_custom_objects().clear()
    keras.saving.get_custom_objects().update(known)


def saved(folder, module, name):
    scope: dict = {}
    exec((folder / f"{module}.py").read_text().replace("@keras", "# @keras"), scope)  # noqa: S102
    inputs = keras.Input((2,))
    made = scope[name]()
    type(made).__module__ = module
    keras.Model(inputs, made(inputs)).save(folder / "model.keras")
    return folder / "model.keras"


def test_a_class_is_known_once_it_is_named(here):
    path = saved(here, "tripled_layers", "Tripled")
    register(["tripled_layers:Tripled"])
    model = load_model(path)
    assert model(np.ones((1, 2), "float32")).numpy().tolist() == [[3.0, 3.0]]


def test_a_module_may_register_by_itself(here):
    register(["doubled_layers"])
    assert "mine>Doubled" in keras.saving.get_custom_objects()


def test_what_is_not_named_is_not_known(here):
    inputs = keras.Input((2,))

    class Unknown(keras.layers.Layer):
        def call(self, inputs):
            return inputs

    keras.Model(inputs, Unknown()(inputs)).save(here / "model.keras")
    with pytest.raises(KerasNasError, match="--custom_objects=module:Name"):
        load_model(here / "model.keras")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("absent_module:Layer", "absent_module:Layer.*ModuleNotFoundError"),
        ("tripled_layers:Absent", "no such name in tripled_layers"),
        ("tripled_layers:NUMBER", "a int in tripled_layers"),
    ],
)
def test_what_is_none_is_said(here, given, message):
    with pytest.raises(UsageError, match=message):
        register([given])
