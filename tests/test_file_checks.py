"""What a model's file has to be, and one line for each thing that it may be instead."""

from __future__ import annotations

import shutil
import zipfile

import keras
import pytest
from keras import layers

from keras_nas.errors import KerasNasError, UsageError
from keras_nas.file_checks import check_model_file
from keras_nas.loading import load_model
from tests.training.nets import small_net


class Doubling(layers.Layer):
    def call(self, inputs):
        return 2 * inputs


def doubled(inputs):
    return 2 * inputs


def net(layer):
    inputs = keras.Input((4, 4, 3))
    outputs = layers.Dense(2)(layer(layers.Flatten()(inputs)))
    return keras.Model(inputs, outputs)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files of every kind: whole ones, broken ones, and others that are named like them."""
    folder = tmp_path_factory.mktemp("files")
    model = small_net()
    model.save(folder / "whole.keras")
    model.save(folder / "whole.h5")
    model.save_weights(folder / "only.weights.h5")
    for name in ("whole.keras", "whole.h5"):
        content = (folder / name).read_bytes()
        (folder / f"cut_{name}").write_bytes(content[: len(content) // 2])
    content = bytearray((folder / "whole.keras").read_bytes())
    content[len(content) // 2] ^= 255
    (folder / "flipped.keras").write_bytes(content)
    for suffix in ("keras", "h5"):
        (folder / f"empty.{suffix}").write_bytes(b"")
        (folder / f"text.{suffix}").write_text("not a model")
        net(Doubling()).save(folder / f"class.{suffix}")
        net(layers.Activation(doubled)).save(folder / f"function.{suffix}")
        net(layers.Lambda(lambda x: 2 * x)).save(folder / f"lambda.{suffix}")
    nested = keras.Sequential([keras.Input((48,)), Doubling()])
    net(nested).save(folder / "nested.keras")
    with zipfile.ZipFile(folder / "other.keras", "w") as archive:
        archive.writestr("readme.txt", "not a model")
    with zipfile.ZipFile(folder / "hollow.keras", "w") as archive:
        for name in ("config.json", "metadata.json", "model.weights.h5"):
            archive.writestr(name, "{}")
    (folder / "folder.keras").mkdir()
    shutil.copy(folder / "whole.keras", folder / "model.tflite")
    return folder


FOREIGN = [
    ("missing.keras", r"must be a file. Received: .*missing.keras, which does not exist"),
    ("missing.h5", r"which does not exist"),
    ("folder.keras", r"which is a folder"),
    ("cut_whole.keras", r"is no .keras file \(a zip archive\): it is cut short"),
    ("empty.keras", r"it is cut short, or another kind of file \(0 bytes\)"),
    ("empty.h5", r"is no HDF5 file"),
    ("text.keras", r"another kind of file \(11 bytes\)"),
    ("text.h5", r"is no HDF5 file"),
    ("other.keras", r"the archive lacks config.json and model.weights.h5"),
]
"""What is seen of a file before TensorFlow is there to load it."""

BROKEN = [
    ("cut_whole.h5", r"is broken: .*truncated file"),
    ("flipped.keras", r"is broken: .*"),
    ("hollow.keras", r"does not load in Keras"),
    ("only.weights.h5", r"holds weights only"),
    ("class.keras", r"of class '.*Doubling', which is not known"),
    ("class.h5", r"Doubling"),
    ("nested.keras", r"of class '.*Doubling', which is not known"),
    ("function.keras", r"doubled"),
    ("function.h5", r"doubled"),
    ("lambda.keras", r"is a Lambda"),
    ("lambda.h5", r"is a Lambda"),
]


@pytest.mark.parametrize("name", ["whole.keras", "whole.h5"])
def test_both_formats_are_models(files, name):
    check_model_file(files / name)


@pytest.mark.parametrize(
    ("look", "name", "message"),
    [*((check_model_file, *row) for row in FOREIGN), *((load_model, *row) for row in BROKEN)],
)
def test_what_is_wrong_with_a_file_is_one_line(files, look, name, message):
    with pytest.raises(KerasNasError, match=message) as caught:
        look(files / name)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)
    assert not isinstance(caught.value, UsageError)


@pytest.mark.parametrize("name", ["model.tflite", "model", ""])
def test_other_names_are_usage_errors(files, name):
    with pytest.raises(UsageError, match=r"`model` must name a .keras or .h5 file"):
        check_model_file(files / name if name else name)
