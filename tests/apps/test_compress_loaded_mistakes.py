"""What newcomers do wrong with apps.compress that is seen in the model and the data themselves."""

from __future__ import annotations

import keras
import numpy as np
import PIL.Image
import pytest

from apps.compress_config import CompressAppConfig
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.settings import unflatten
from tests.apps import trained_place

MISTAKES = {
    "weights alone": (
        {"model": "only.weights.h5"}, 1,
        "holds weights only, no model: build the model in Python",
    ),
    "a layer of one's own": (
        {"model": "own_layer.keras"}, 1,
        "OwnLayer.*--custom_objects=module:Name",
    ),
    "a subclassed model": (
        {"model": "subclassed.keras"}, 1,
        "of class 'Subclassed', which is not known",
    ),
    "a Lambda": ({"model": "lambda.keras"}, 1, "is a Lambda.* rebuild the model"),
    "a model of two inputs": (
        {"model": "two_inputs.keras"}, 2,
        "has 2 inputs, and the data has images alone",
    ),
    "a model of text": (
        {"model": "text_input.keras"}, 2,
        "takes string inputs, and the data has float32",
    ),
    "a regression": (
        {"model": "regression.keras"}, 2,
        "one output, which is no probability: end it with",
    ),
    "two outputs": (
        {"model": "two_outputs.keras"}, 2,
        r"needs a model with one output \(batch, classes\)",
    ),
    "more classes than the data": (
        {"model": "ten_classes.keras"}, 2,
        "gives 10 classes, and the data has 3",
    ),
    "a model for lists of numbers": (
        {"model": "flat.keras"}, 2,
        "takes inputs of 432, and the data has 12×12×3",
    ),
    "an untrained model": (
        {"model": "untrained.keras"}, 1,
        "is no better than a constant on these data.* Train it first",
    ),
    "weights that are NaN": (
        {"model": "nan.keras"}, 1,
        "has the loss nan .* NaN or infinity is among its weights",
    ),
    "a segmenter with class folders": (
        {"model": "segmenter.keras"}, 2,
        r"needs a model with one output \(batch, classes\)",
    ),
    "a class without pictures": ({"data": "hollow"}, 1, "No image in `hollow/dark`"),
    "one class to train on": (
        {"data": "one_class"}, 1,
        "`one_class/train` holds neither pictures nor a folder .*two or more",
    ),
    "other classes to test on": (
        {"data": "other_test"}, 1,
        "`other_test/test` must be of those to train on.* Received: 'midle'",
    ),
    "two classes for a model of three": (
        {"data": "two_classes", "batch_size": 4}, 2,
        "gives 3 classes, and the data has 2",
    ),
    "a picture that is none": (
        {"data": "broken"}, 1,
        "`broken/dark/3.png` cannot be read .*: replace or remove it",
    ),
    "pictures of 16 bits": ({"data": "sixteen"}, 1, "must have 8 bits a channel: convert it"),
    "pictures without classes": (
        {"data": "photos/train/dark"}, 2,
        "for a classifier give a folder for each class",
    ),
    "a CSV of missing pictures": (
        {"data": "missing.csv"}, 1,
        "`photos/1.png` cannot be read .*: replace or remove it",
    ),
    "a CSV with other columns": (
        {"data": "columns.csv"}, 1,
        "Line 2 of `columns.csv`: the path must be a picture's.* Received: '1'",
    ),
    "an empty CSV": (
        {"data": "empty.csv"}, 1,
        "`empty.csv` must have a row for each picture. Received: no row",
    ),
    "an npz with other names": (
        {"data": "names.npz"}, 1,
        r"must hold the array `x_train`. Received: \['images', 'labels'\]",
    ),
    "an npz of floats": ({"data": "floats.npz"}, 1, "must be uint8 .*; multiply by 255 first"),
    "an npz with NaN as a label": (
        {"data": "nan.npz"}, 1,
        r"must be classes from 0, \(N,\), or one-hot",
    ),
    "an npz of another length": (
        {"data": "lengths.npz"}, 1,
        "same number of examples.* Received: 6 and 4",
    ),
    "a batch larger than the data": (
        {"batch_size": 1000}, 2,
        "at most the number of training examples.*batch_size=1000",
    ),
    "more examples than there are": (
        {"train_examples": 1000}, 2,
        "`train_examples` must be from 1 to the .* that there are",
    ),
    "another size than the model's": (
        {"image_size": 20}, 2,
        "takes inputs of 12×12×3, and the data has 20×20×3 .--image_size=12",
    ),
    "other channels than the model's": (
        {"channels": 1}, 2,
        "takes inputs of 12×12×3, and the data has 12×12×1",
    ),
    "another range of pixels": ({"pixels": "0..1"}, 1, r"no better than a constant.*\(`pixels`\)"),
    "bytes out of reach": (
        {"target_macs": 0, "target_bytes": "int8:200"}, 2,
        "`target_bytes` must be int8:.* or more.* Received: int8:200 .the full",
    ),
    "macs out of reach": (
        {"target_macs": "0.001x"}, 2,
        "`target_macs` must be .* or more.*the full network has",
    ),
    "targets of which one is out of reach": (
        {"target_bytes": "int8:0.01x"}, 2,
        "`target_bytes` must be int8:.* or more",
    ),
    "a table that is none": ({"target_latency_ms": 3, "latency_table": "text.txt"}, 1, "text.txt"),
    "too few minutes": (
        {"minutes": 0.01, "epochs": 0}, 2,
        "`minutes` must be .* or more: .* for two epochs.*train_examples",
    ),
}  # fmt: skip
"""The settings beside the right ones, the exit code, the line."""


def small(outputs=3):
    inputs = keras.Input((12, 12, 3))
    x = keras.layers.Flatten()(keras.layers.Conv2D(4, 3, 2)(inputs))
    return keras.Model(inputs, keras.layers.Dense(outputs)(x))


class OwnLayer(keras.layers.Layer):
    def call(self, x):
        return x + 1


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.flatten, self.head = keras.layers.Flatten(), keras.layers.Dense(3)

    def call(self, x):
        return self.head(self.flatten(x))


def write_models(folder):
    def functional(name, inputs, outputs):
        keras.Model(inputs, outputs).save(folder / f"{name}.keras")

    image = keras.Input((12, 12, 3))
    flat = keras.layers.Flatten()(image)
    head = keras.layers.Dense(3)
    functional("own_layer", image, head(OwnLayer(name="mine")(flat)))
    functional("lambda", image, head(keras.layers.Lambda(lambda x: x * 2, (432,))(flat)))
    functional("two_outputs", image, [head(flat), keras.layers.Dense(1)(flat)])
    functional("segmenter", image, keras.layers.Conv2D(3, 1)(image))
    other = keras.Input((4,))
    both = keras.layers.Concatenate()([flat, other])
    functional("two_inputs", [image, other], keras.layers.Dense(3)(both))
    words = keras.Input((), dtype="string")
    table = keras.layers.TextVectorization(vocabulary=["a", "b"], output_sequence_length=4)(words)
    functional("text_input", words, keras.layers.Dense(3)(keras.ops.cast(table, "float32")))
    small(outputs=1).save(folder / "regression.keras")
    small(outputs=10).save(folder / "ten_classes.keras")
    trained_place.net().save(folder / "untrained.keras")
    numbers = keras.Input((432,))
    functional("flat", numbers, keras.layers.Dense(3)(numbers))
    nan = trained_place.net()
    nan.set_weights([np.full_like(each, np.nan) for each in nan.get_weights()])
    nan.save(folder / "nan.keras")
    subclassed = Subclassed()
    subclassed(np.zeros((1, 12, 12, 3)))
    subclassed.save(folder / "subclassed.keras")
    small().save_weights(folder / "only.weights.h5")
    (folder / "text.txt").write_text("hello")


def write_data(folder):
    def picture(path, mode="RGB", value=60):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.new(mode, (12, 12), value if mode != "RGB" else (value,) * 3).save(folder / path)

    def classes(root, names, count=12, **changes):
        for place, name in enumerate(names):
            for number in range(count):
                picture(f"{root}/{name}/{number}.png", value=60 * place + number, **changes)

    classes("one_class/train", ("dark",))
    classes("hollow", ("bright", "dark", "middle"))
    for path in (folder / "hollow" / "dark").iterdir():
        path.unlink()
    classes("other_test/train", ("bright", "dark", "middle"))
    classes("other_test/test", ("bright", "dark", "midle"))
    classes("two_classes", ("bright", "dark"))
    classes("broken", ("bright", "dark", "middle"))
    (folder / "broken" / "dark" / "3.png").write_bytes(b"no picture")
    classes("sixteen", ("bright", "dark", "middle"), mode="I;16")
    (folder / "missing.csv").write_text("path,label\nphotos/1.png,a\nphotos/2.png,b\n")
    (folder / "columns.csv").write_text("id,score\n1,0.5\n2,0.25\n")
    (folder / "empty.csv").write_text("")
    images = np.zeros((6, 12, 12, 3), "uint8")
    labels = np.arange(6) % 3
    np.savez(folder / "names.npz", images=images, labels=labels)
    np.savez(folder / "floats.npz", x_train=images / 255, y_train=labels)
    np.savez(folder / "nan.npz", x_train=images, y_train=np.where(labels, labels, np.nan))
    np.savez(folder / "lengths.npz", x_train=images, y_train=labels[:4])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    trained_place.make(folder)
    write_models(folder)
    write_data(folder)
    return folder


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def before(place):
    """The files that are there, which stay as they are."""
    return content(place)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(name, place, before, monkeypatch):
    from apps.compression import compress_file

    changes, code, message = MISTAKES[name]
    right = {"model": "model.keras", "data": "photos", "output": "small", "target_macs": "0.5x"}
    quiet = {"progress": "off", "epochs": 2}
    monkeypatch.chdir(place)
    with pytest.raises(KerasNasError, match=message) as caught:
        config = unflatten(CompressAppConfig, {**right, **quiet, **changes})
        config.check_paths()
        compress_file(config)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, UsageError) == (code == 2)
    assert content(place) == before
    assert not (place / "small").exists()
