"""Metadata in the files of a compression, and what leaves them out."""

from __future__ import annotations

import dataclasses
import types

import pytest

from apps import tflite_metadata
from apps.task_files import ClassificationFiles, SuperResolutionFiles
from export import metadata, tflite
from keras_nas.architecture import Architecture
from keras_nas.data.normalization import Normalization
from tests.apps.trained_place import net

NAMES = ("bright", "dark", "middle")
MIDDLE = Normalization((0.5,) * 3, (0.25,) * 3)
FOUND = Architecture(
    method="dnal",
    kept_channels={},
    channels={},
    costs={"before": {"macs": 4000, "params": 400}, "after": {"macs": 1000, "params": 100}},
)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    model, path = net(), tmp_path_factory.mktemp("written") / "net.tflite"
    tflite.convert(model, path)
    return model, path.read_bytes()


@pytest.fixture
def path(tmp_path, written):
    place = tmp_path / "small.tflite"
    place.write_bytes(written[1])
    return place


def files(normalization=MIDDLE, names=NAMES):
    data = types.SimpleNamespace(normalization=normalization, class_names=names)
    return ClassificationFiles(data)


def test_the_file_says_its_classes_its_pixels_and_its_costs(path, written):
    assert tflite_metadata.describe_file(path, files(), written[0], FOUND)
    found = metadata.read(path)
    assert found["files"] == {"labels.txt": "bright\ndark\nmiddle\n"}
    assert found["metadata"]["description"] == (
        "Architecture found by DNAL. macs: 1,000 (25.0% of the original). "
        "params: 100 (25.0% of the original)."
    )
    (source,) = found["metadata"]["subgraph_metadata"][0]["input_tensor_metadata"]
    (step,) = source["process_units"]
    assert step["options"] == {"mean": [127.5] * 3, "std": [63.75] * 3}


def test_an_architecture_without_costs_has_none(path, written):
    bare = dataclasses.replace(FOUND, costs={})
    assert tflite_metadata.describe_file(path, files(), written[0], bare)
    assert metadata.read(path)["metadata"]["description"] == "Architecture found by DNAL."


def test_a_file_keeps_within_its_bytes(path, written, caplog):
    model, before = written
    most = len(before) + 100
    assert not tflite_metadata.describe_file(path, files(), model, FOUND, most)
    assert path.read_bytes() == before
    assert f"and may have {most:,}" in caplog.text
    assert tflite_metadata.describe_file(path, files(), model, FOUND, len(before) + 10_000)
    assert len(before) < path.stat().st_size <= len(before) + 10_000


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (files(dataclasses.replace(MIDDLE, bgr=True)), "blue, green, red"),
        (files(names=("bright", "dark")), "Received: 2 labels"),
        (files(names=("bright", "dark", "")), "must be one line of text"),
    ],
)
def test_what_metadata_cannot_say_leaves_the_file_as_it_is(path, written, caplog, given, said):
    assert not tflite_metadata.describe_file(path, given, written[0], FOUND)
    assert path.read_bytes() == written[1]
    assert said in caplog.text


def test_without_the_package_the_file_is_left(path, written, caplog, monkeypatch):
    monkeypatch.setattr(metadata, "available", lambda: False)
    assert not tflite_metadata.describe_file(path, files(), written[0], FOUND)
    assert path.read_bytes() == written[1]
    assert "tflite-support is not installed" in caplog.text


def test_one_probability_has_the_name_of_class_one():
    model = types.SimpleNamespace(name="net", output_shape=(None, 1))
    assert files(names=("cat", "dog")).card(model, "").labels == ("dog",)


@pytest.mark.parametrize(("white", "std"), [(1.0, 255.0), (255.0, 1.0)])
def test_an_enlarger_takes_pixels_of_its_range(white, std):
    data = types.SimpleNamespace(value_range=white)
    card = SuperResolutionFiles(data).card(types.SimpleNamespace(name="net"), "")
    assert (card.task, card.mean, card.std) == ("image_to_image", (0.0,), (std,))
