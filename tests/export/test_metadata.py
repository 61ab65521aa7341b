"""Metadata: what is written is read back by tflite-support, and the model stays the same."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from export import metadata
from export.errors import ExportError
from export.export_model import export_model
from export.interpreter import Runner
from export.tflite import convert

LABELS = tuple(f"digit {i}" for i in range(10))


def make_card(**changes):
    settings = {
        "name": "digits",
        "task": "classification",
        "description": "Reads digits.",
        "labels": LABELS,
        "author": "A. Author",
        "license": "Apache-2.0",
    }
    return metadata.ModelCard(**{**settings, **changes})


@pytest.fixture(scope="module")
def image_model(tmp_path_factory):
    """A model from images to three channels of the same size, as .tflite."""
    inputs = keras.Input((8, 8, 3))
    outputs = keras.layers.Conv2D(3, 3, padding="same", activation="softmax")(inputs)
    path = tmp_path_factory.mktemp("image") / "image.tflite"
    return convert(keras.Model(inputs, outputs), path).path


@pytest.mark.parametrize("file", ["float_file", "uint8_file"])
def test_a_classifier_s_card_is_read_back(file, request, tmp_path, images):
    path = metadata.write(request.getfixturevalue(file), make_card(), tmp_path / "m.tflite")
    found = metadata.read(path)
    card, (graph,) = found["metadata"], found["metadata"]["subgraph_metadata"]
    (source,), (result,) = graph["input_tensor_metadata"], graph["output_tensor_metadata"]
    assert (card["name"], card["author"], card["license"]) == ("digits", "A. Author", "Apache-2.0")
    assert card["description"] == "Reads digits."
    assert source["process_units"][0]["options"] == {"mean": [0.0], "std": [255.0]}
    assert source["content"]["content_properties"]["color_space"] == "RGB"
    assert source["stats"]["max"] == [255.0 if file == "uint8_file" else 1.0]
    assert result["associated_files"][0]["type"] == "TENSOR_AXIS_LABELS"
    assert found["files"]["labels.txt"].split("\n") == [*LABELS, ""]
    before, after = Runner(request.getfixturevalue(file)), Runner(path)
    for image in images.test_x[:5]:
        np.testing.assert_array_equal(before([image[None]])[0], after([image[None]])[0])
    assert after.input_names == ["image"]


def test_segmentation_carries_labels_with_colours(image_model, tmp_path):
    card = make_card(
        task="segmentation", labels=("sky", "sea", "land"),
        colors=((0, 0, 255), (0, 255, 255), (0, 128, 0)),
    )  # fmt: skip
    found = metadata.read(metadata.write(image_model, card, tmp_path / "m.tflite"))
    (result,) = found["metadata"]["subgraph_metadata"][0]["output_tensor_metadata"]
    assert result["name"] == "segmentation_masks"
    assert found["files"] == {
        "labels.txt": "sky\nsea\nland\n",
        "label_colors.csv": "red,green,blue\n0,0,255\n0,255,255\n0,128,0\n",
    }


def test_super_resolution_is_an_image_to_an_image(image_model, tmp_path):
    card = make_card(task="image_to_image", labels=(), mean=(127.5,), std=(127.5,))
    found = metadata.read(metadata.write(image_model, card, tmp_path / "m.tflite"))
    (graph,) = found["metadata"]["subgraph_metadata"]
    for tensor in (graph["input_tensor_metadata"][0], graph["output_tensor_metadata"][0]):
        assert tensor["content"]["content_properties_type"] == "ImageProperties"
    assert graph["input_tensor_metadata"][0]["stats"] == {"max": [1.0], "min": [-1.0]}


def test_the_description_names_method_and_costs():
    text = metadata.describe(
        "Reads digits. ", "DNAL", {"macs": 2000}, {"macs": 500, "params": 1234}
    )
    assert text == (
        "Reads digits. Architecture found by DNAL. macs: 500 (25.0% of the original). "
        "params: 1,234."
    )
    assert metadata.describe("") == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "detection"}, "`task` must be one of"),
        ({"labels": ()}, "`labels` must name the classes"),
        ({"labels": ("a", "b\nc")}, "must be one line of text"),
        ({"labels": LABELS[:9]}, "each of the model's 10 classes. Received: 9 labels"),
        ({"mean": (1.0, 2.0)}, "`mean` must hold one number, or one for each of the model's 3"),
        ({"std": (0.0,)}, "`std` must not be 0"),
        ({"colors": ((1, 2, 3),)}, "one colour for each of the 10 labels"),
        ({"task": "image_to_image"}, "are for classification and segmentation"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(float_file, tmp_path, changes, message):
    with pytest.raises(ExportError, match=message):
        metadata.write(float_file, make_card(**changes), tmp_path / "m.tflite")
    assert not (tmp_path / "m.tflite").exists()


def test_a_uint8_input_must_read_pixels_as_the_card_says(uint8_file, tmp_path):
    with pytest.raises(ExportError, match="reads the pixel 0 as 0, but mean and std make it -1"):
        metadata.write(uint8_file, make_card(mean=(127.5,), std=(127.5,)), tmp_path / "m.tflite")


def test_export_writes_the_card(classifier, tmp_path):
    exported, _ = export_model(classifier, tmp_path / "m.tflite", card=make_card())
    assert metadata.read(exported.path)["metadata"]["name"] == "digits"
    assert exported.size_bytes == exported.path.stat().st_size


def test_without_tflite_support_one_line_says_what_to_do(monkeypatch, float_file, tmp_path):
    monkeypatch.setattr(metadata, "available", lambda: False)
    with pytest.raises(ExportError, match=r"exists for Python 3\.11 and older") as caught:
        metadata.write(float_file, make_card(), tmp_path / "m.tflite")
    assert "\n" not in str(caught.value)


def test_a_file_without_metadata_is_said_so(float_file):
    with pytest.raises(ExportError, match="Cannot read metadata"):
        metadata.read(float_file)
