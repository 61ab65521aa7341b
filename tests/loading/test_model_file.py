"""Files that are no model: one line says what is wrong with them."""

from __future__ import annotations

import json
import zipfile

import keras
import numpy as np
import pytest

import keras_nas as kn

pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")

X = np.random.default_rng(0).normal(size=(2, 4)).astype("float32")


def small():
    inputs = keras.Input((4,))
    return keras.Model(inputs, keras.layers.Dense(3, name="head")(inputs))


def refused(path, pattern, **options):
    with pytest.raises(kn.KerasNasError, match=pattern) as error:
        kn.load_model(path, **options)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_models_of_keras_3(name, tmp_path):
    model = small()
    model.save(tmp_path / name)
    loaded = kn.load_model(str(tmp_path / name))
    np.testing.assert_array_equal(loaded(X), model(X))
    assert not loaded.compiled


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    refused(tmp_path / "no.keras", "which does not exist")
    refused(tmp_path / "no" / "where.h5", "which does not exist")


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_broken_file_is_said_to_be_broken(name, share, tmp_path):
    path = tmp_path / name
    small().save(path)
    contents = path.read_bytes()
    path.write_bytes(contents[: int(len(contents) * share)])
    refused(path, "broken")


def test_damage_in_the_middle(tmp_path):
    path = tmp_path / "model.keras"
    small().save(path)
    contents = bytearray(path.read_bytes())
    middle = contents.index(b"config.json") + 40
    contents[middle : middle + 8] = bytes(8)
    path.write_bytes(bytes(contents))
    refused(path, "broken")


@pytest.mark.parametrize("contents", [b"", b"hello", b"PK nothing", b"\x89HDF\r\n\x1a\n nothing"])
def test_other_files(contents, tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(contents)
    refused(path, "broken")


def test_a_folder(tmp_path):
    refused(tmp_path, "is a folder, and no SavedModel")


def test_a_zip_file_of_something_else(tmp_path):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "hello")
    refused(path, "zip file without a Keras model")


def test_weights_alone(tmp_path):
    small().save_weights(tmp_path / "model.weights.h5")
    refused(tmp_path / "model.weights.h5", "holds weights only")


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_code_is_not_run(name, tmp_path):
    inputs = keras.Input((4,))
    function = keras.layers.Lambda(lambda x: x * 2, output_shape=(4,), name="double")
    keras.Model(inputs, function(inputs)).save(tmp_path / name)
    refused(tmp_path / name, "'double' .* is a Lambda.*not run")


class Unknown(keras.layers.Layer):
    def call(self, x):
        return x + 1


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_unknown_classes_are_named(name, tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, Unknown(name="strange")(inputs))
    model.save(tmp_path / name)
    refused(tmp_path / name, "Unknown")
    loaded = kn.load_model(tmp_path / name, custom_objects={"Unknown": Unknown})
    np.testing.assert_array_equal(loaded(X), X + 1)


def test_unknown_models_are_named(tmp_path):
    class Subclassed(keras.Model):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.head = keras.layers.Dense(3)

        def call(self, x):
            return self.head(x)

    model = Subclassed(name="own")
    model(X)
    model.save(tmp_path / "model.keras")
    refused(tmp_path / "model.keras", "of class 'Subclassed', which is not known")


def test_what_a_newer_keras_wrote(tmp_path):
    path = tmp_path / "model.keras"
    small().save(path)
    parts = {}
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    config["config"]["layers"][1]["config"]["new_argument"] = 3
    parts["config.json"] = json.dumps(config).encode()
    parts["metadata.json"] = json.dumps({"keras_version": "9.9.0"}).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, contents in parts.items():
            archive.writestr(name, contents)
    refused(path, "written by Keras 9.9.0, does not load in Keras.*new_argument")


def test_gated_models_load(tmp_path):
    inputs = keras.Input((4,))
    gate = kn.layers.ScaledSigmoidGate(name="gate")
    model = keras.Model(inputs, keras.layers.Dense(2)(gate(keras.layers.Dense(3)(inputs))))
    gate.set_mask([True, False, True])
    model.save(tmp_path / "model.keras")
    loaded = kn.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.get_layer("gate").mask(), [True, False, True])
