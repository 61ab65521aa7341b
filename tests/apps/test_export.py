"""apps.export on a trained model: files, reports, metadata; one line where it cannot be."""

from __future__ import annotations

import itertools
import json

import keras
import numpy as np
import PIL.Image
import pytest

from apps.export_config import ExportConfig
from apps.model_export import coverage_lines, export_file
from export import metadata
from export.interpreter import Runner
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.settings import unflatten


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A classifier of bright and dark images as .keras, and its data as .npz."""
    folder = tmp_path_factory.mktemp("export")
    keras.utils.set_random_seed(0)
    generator = np.random.default_rng(0)
    y = generator.integers(0, 2, 256)
    x = (generator.random((256, 8, 8, 3)) * 0.5 + 0.4 * y[:, None, None, None]).astype("float32")
    inputs = keras.Input((8, 8, 3), name="image")
    hidden = keras.layers.Conv2D(8, 3, activation="relu")(inputs)
    hidden = keras.layers.GlobalAveragePooling2D()(hidden)
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(hidden))
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=5, verbose=0)
    model.save(folder / "small.keras")
    np.savez(folder / "data.npz", x=x[:64], y=y[:64], train_x=x[64:], train_y=y[64:])
    (folder / "labels.txt").write_text("dark\nbright\n")
    return folder


def config(files, **changes):
    settings = {"model": str(files / "small.keras"), "data": str(files / "data.npz")}
    return unflatten(ExportConfig, {**settings, **changes})


def test_every_format_is_written_with_its_report(files, tmp_path):
    formats = ("float32", "dynamic_int8", "int8")
    exports = export_file(
        config(files, formats=formats, output_dir=str(tmp_path), io_dtype="uint8")
    )
    assert [export.format for export, _ in exports] == list(formats)
    for name, (export, parity) in zip(formats, exports, strict=True):
        assert export.path == tmp_path / f"small_{name}.tflite"
        report = json.loads((tmp_path / f"small_{name}.parity.json").read_text())
        assert report["metric_name"] == "top1"
        assert report["metric_tflite"] == parity.metric_tflite > 95
        assert report["samples"] == 64
    assert Runner(exports[2][0].path).input_dtypes == ["uint8"]
    assert Runner(exports[0][0].path).input_dtypes == ["float32"]


def test_a_line_says_what_each_accelerator_takes(files, tmp_path):
    exports = export_file(config(files, output_dir=str(tmp_path)))
    assert coverage_lines(exports) == [
        "small_float32.tflite: XNNPACK takes all 4 nodes in 1 partition",
        "small_float32.tflite: The GPU delegate takes 3 of 4 nodes in 2 partitions; left: MEAN ×1 "
        "(not documented, though newer delegates take it)",
    ]


def test_pictures_are_brought_to_the_size_that_the_model_takes(files, tmp_path):
    generator = np.random.default_rng(1)
    for number, name in itertools.product(range(70), ("dark", "bright")):
        split = "train" if number < 64 else "test"
        folder = tmp_path / "pictures" / split / name
        folder.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (12, 12, 3)).astype("uint8")
        PIL.Image.fromarray(pixels).save(folder / f"{number}.png")
    ((exported, parity),) = export_file(
        config(
            files, data="class_folders", data_dir=str(tmp_path / "pictures"),
            formats=("int8",), output_dir=str(tmp_path),
        )
    )  # fmt: skip
    assert exported.input_shapes == {"image": (1, 8, 8, 3)}
    assert parity.samples == 12


def test_metadata_name_labels_author_and_costs(files, tmp_path):
    export_file(
        config(
            files, output_dir=str(tmp_path), name="light", metadata=True, author="Me",
            labels=str(files / "labels.txt"), description="Dark or bright?", license="MIT",
        )
    )  # fmt: skip
    found = metadata.read(tmp_path / "light_float32.tflite")
    assert found["metadata"]["author"] == "Me"
    assert found["metadata"]["license"] == "MIT"
    assert found["metadata"]["description"].startswith("Dark or bright? macs: ")
    assert found["files"]["labels.txt"] == "dark\nbright\n"


def test_without_data_integer_formats_are_refused(files, tmp_path):
    with pytest.raises(KerasNasError, match="`representative_data` must be given"):
        formats = ("float32", "int8")
        export_file(config(files, data="", formats=formats, output_dir=str(tmp_path)))
    assert list(tmp_path.iterdir()) == []
    (found,) = export_file(config(files, data="", output_dir=str(tmp_path)))
    assert "random inputs" in found[1].notes[0]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"model": "a.onnx"}, UsageError, "`model` must name a .keras or .h5 file"),
        ({"model": "absent.h5"}, KerasNasError, "absent.h5, which does not exist"),
        ({"output_dir": __file__}, KerasNasError, "`output_dir` must be a folder"),
        ({"labels": "absent.txt"}, KerasNasError, "`labels` must be a file"),
        ({"data_dir": "absent"}, KerasNasError, "`data_dir` must be the folder"),
        ({"data": "fashion_mnist"}, UsageError, "takes inputs of 8×8×3, and the data has 8×8×1"),
        ({"model": "absent.keras"}, KerasNasError, "absent.keras, which does not exist"),
        ({"data": "mnist"}, UsageError, "`data` must be one of"),
        ({"data": "absent.npz"}, KerasNasError, "Cannot read the data absent.npz"),
        ({"dynamic_sizes": ("240",)}, UsageError, "must read like 240x320"),
        ({"metadata": True}, KerasNasError, "`labels` must name the classes"),
    ],
)
def test_mistakes_are_named(files, tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        export_file(config(files, **{"output_dir": str(tmp_path), **changes}))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("shape", "changes", "message"),
    [
        ((None, None, 3), {}, "an open size: give --input_size=224,224, or --dynamic_sizes"),
        ((None, 3), {}, "an open size: build it with a fixed one"),
        ((9, 3), {"input_size": (9, 9)}, "are for models with one image"),
        ((9, 3), {"dynamic_sizes": ("9x9",)}, "are for models with one image"),
    ],
)
def test_open_sizes_are_named_by_flag(files, tmp_path, shape, changes, message):
    inputs = keras.Input(shape)
    keras.Model(inputs, keras.layers.Dense(2)(inputs)).save(tmp_path / "open.keras")
    model = str(tmp_path / "open.keras")
    with pytest.raises(KerasNasError, match=message):
        export_file(config(files, model=model, output_dir=str(tmp_path), **changes))
    assert [path.name for path in tmp_path.iterdir()] == ["open.keras"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"formats": ("int4",)}, "`formats` must be some of"),
        ({"io_dtype": "int4"}, "`io_dtype` must be one of"),
        ({"parity_samples": 0}, "`parity_samples` must be 1 or more. Received: parity_samples=0"),
        ({"qat_steps": -1}, "`qat_steps` must be 0 or more"),
        ({"input_size": (3,)}, "`input_size` must be a height and a width"),
    ],
)
def test_wrong_settings_are_usage_errors(changes, message):
    with pytest.raises(UsageError, match=message):
        unflatten(ExportConfig, changes)
