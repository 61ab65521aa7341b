"""apps.compress: a model's file and a folder of pictures to .tflite files within a budget."""

from __future__ import annotations

import contextlib
import io
import json
import re

import keras
import numpy as np
import PIL.Image
import pytest

from export import metadata
from export.arena import measured_arena
from keras_nas.compression.config import CompressConfig
from keras_nas.costs import count
from keras_nas.data import load
from keras_nas.data.picture_settings import PictureSettings
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.runs.folder import RunFolder
from keras_nas.search import Session, TrainConfig, train
from keras_nas.tasks import Classification
from keras_nas.training.session import SessionSettings
from tests.apps.commands import call
from tests.apps.compress_settings import settings
from tests.apps.trained_place import make, net


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with photos/ and model.keras, which was trained on them."""
    root = tmp_path_factory.mktemp("place")
    make(root)
    return root


@pytest.fixture(scope="module")
def compressed(place):
    """What came of it, the report's page, and what was said."""
    from apps.compression import compress_file

    with contextlib.redirect_stderr(io.StringIO()) as said:
        outcome, page = compress_file(settings(place, session=SessionSettings(progress="lines")))
    return outcome, page, said.getvalue()


def test_a_file_and_a_folder_become_files_within_the_budget(place, compressed):
    outcome, page, said = compressed
    assert "top1 1 on the test pictures" in said or "top1 0.9" in said
    assert "pixels 0..255, by trying: top-1" in said
    assert "Asked: macs=0.5x, bytes=int8:0.9x." in said
    assert re.search(r"measuring the files: up to (6\d|[7-9]\d) s more\.|up to \d+ min more", said)
    small = keras.models.load_model(place / "small" / "finetuned.keras")
    assert count(small).macs <= 0.5 * count(net()).macs
    rows = {row.name: row for row in outcome.rows}
    assert rows["macs"].met
    assert rows["macs"].small == count(small).macs
    for name in ("original", "small"):
        for end in (".tflite", "_int8.tflite"):
            path = place / "small" / f"{name}{end}"
            label = "int8 file" if "int8" in end else "float32 file"
            shown = rows[label].original if name == "original" else rows[label].small
            assert path.stat().st_size == shown
    assert rows["int8 file"].asked == pytest.approx(0.9 * rows["int8 file"].original)
    assert rows["int8 file"].met
    assert rows["int8 time"].small > 0
    assert rows["int8 top1"].small > 0.6
    assert page.stat().st_size > 10_000
    for plot in ("channels.png", "curves.png"):
        assert (place / "small" / "plots" / plot).stat().st_size > 10_000
    results = json.loads((place / "small" / "results.json").read_text())
    assert results["rows"]["small_int8.tflite"]["top1"] > 0.6
    assert results["outcome"] == json.loads(json.dumps(outcome.record()))
    assert results["outcome"]["met"] is True
    assert f"<td>{rows['macs'].cells()[2]}</td>" in page.read_text(encoding="utf-8")
    found = metadata.read(place / "small" / "small.tflite")
    assert found["files"] == {"labels.txt": "bright\ndark\nmiddle\n"}
    assert found["metadata"]["description"].startswith("Architecture found by DNAL. macs: ")
    (source,) = found["metadata"]["subgraph_metadata"][0]["input_tensor_metadata"]
    (step,) = source["process_units"]
    assert step["options"] == {"mean": [0.0] * 3, "std": [1.0] * 3}
    with pytest.raises(KerasNasError, match="--resume"):
        settings(place).check_paths()


def test_it_goes_on_after_an_interruption(place, compressed, monkeypatch):
    from apps import compression

    whole = place / "small"
    broken = place / "broken"
    with monkeypatch.context() as patched:
        patched.setattr("keras_nas.runs.search_stages.Surgery.run", lambda self, bench: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            compression.compress_file(settings(place, output=str(broken)))
    session = SessionSettings(progress="off", resume=True)
    other = settings(
        place, output=str(broken), session=session, budget=CompressConfig(target_macs="0.6x")
    )
    with pytest.raises(UsageError, match="`budget` was"):
        compression.compress_file(other)
    outcome, _ = compression.compress_file(settings(place, output=str(broken), session=session))
    assert outcome.met
    first, second = (
        json.loads((path / "architecture.json").read_text())["kept_channels"]
        for path in (whole, broken)
    )
    assert first == second
    losses = [
        json.loads((path / "results.json").read_text())["rows"]["finetuned"]["loss"]
        for path in (whole, broken)
    ]
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"output": ""}, UsageError, "--output"),
        ({"data": ""}, UsageError, "`data` must name a folder"),
        ({"data": "nowhere"}, UsageError, "'nowhere', which does not exist"),
        ({"model": "missing.keras"}, KerasNasError, "missing.keras, which does not exist"),
        ({"budget": CompressConfig()}, UsageError, "A budget must be given"),
        ({"data": "model.keras"}, KerasNasError, "end in .csv or .npz"),
        ({"data": "photos/train/dark"}, None, "folder"),
        ({"data": "photos"}, None, "class_folders"),
    ],
    ids=lambda value: "" if isinstance(value, (dict, type)) else None,
)
def test_what_is_named_is_looked_at_first(place, tmp_path, changes, kind, message):
    if changes.get("data", "").startswith(("photos", "model")):
        changes = {"data": str(place / changes["data"])}
    config = settings(place, **{"output": str(tmp_path / "out"), **changes})
    if kind is None:
        config.check_paths()
        assert config.data_source()[0] == message
    else:
        with pytest.raises(kind, match=message):
            config.check_paths()


@pytest.mark.parametrize(("target", "met"), [("int8:0.95x", True), ("int8:100", False)])
def test_ram_is_judged_by_the_arena_of_the_files(place, compressed, target, met):
    from apps.compress_outcome import outcome_of_run

    budget = CompressConfig(target_ram=target)
    outcome = outcome_of_run(budget, ("float32", "int8"), RunFolder(place / "small"), ())
    (row,) = (row for row in outcome.rows if row.name == "int8 arena")
    files = (place / "small" / f"{name}_int8.tflite" for name in ("original", "small"))
    assert (row.original, row.small) == tuple(map(measured_arena, files))
    assert row.met is met


def test_a_folder_of_labels_is_for_segmentation(place, tmp_path):
    (tmp_path / "train" / "images").mkdir(parents=True)
    (tmp_path / "train" / "labels").mkdir()
    assert settings(place, data=str(tmp_path)).data_source()[0] == "segmentation_folders"


@pytest.mark.slow
def test_one_command(place, tmp_path):
    arguments = [
        f"--model={place / 'model.keras'}", f"--data={place / 'photos'}", "--target_macs=0.5x",
        f"--output={tmp_path / 'small'}", "--epochs=2", "--batch_size=16", "--progress=lines",
    ]  # fmt: skip
    done = call("compress", *arguments)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "int8 file" in done.stdout
    assert "met" in done.stdout
    again = call("compress", *arguments)
    assert again.returncode == 1
    assert "--resume" in again.stderr


def test_grey_pictures_of_a_csv_are_loaded_as_the_model_takes_them(place, tmp_path):
    from apps.compress_data import load_for

    inputs = keras.Input((6, 6, 1), name="image")
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs)))
    rows = [
        f"{path},{path.parent.name}" for path in sorted((place / "photos" / "train").glob("*/*"))
    ]
    listed = tmp_path / "pictures.csv"
    listed.write_text("\n".join(["path,label", *rows]))
    config = settings(place, data=str(listed), guess_pixels=False)
    run_config, data, *_ = load_for(config, model, print)
    assert (run_config.data, run_config.pictures.channels) == ("csv", 1)
    assert data.image_shape == (6, 6, 1)
    assert data.class_names == ("bright", "dark", "middle")


@pytest.mark.parametrize("augment", [False, True])
def test_pictures_are_augmented_where_the_model_knows_them_so(tmp_path, augment):
    """Of pictures that are bright on the left or on the right, a flip makes the other class."""
    from apps.compress_data import load_for

    half = np.repeat([[0, 255]], 6, axis=1).reshape(1, 12, 1)
    for part in ("train", "test"):
        for name in ("left", "right"):
            folder = tmp_path / "sides" / part / name
            folder.mkdir(parents=True)
            row = half if name == "right" else half[:, ::-1]
            pixels = np.broadcast_to(row, (12, 12, 3)).astype("uint8")
            if augment:
                pixels = np.full((12, 12, 3), 40 if name == "left" else 220, "uint8")
            for number in range(32):
                PIL.Image.fromarray(pixels).save(folder / f"{number}.png")
    inputs = keras.Input((12, 12, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    if augment:  # sees the mean alone, which no crop or flip changes much
        x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Flatten()(x)
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    data = load(
        "class_folders", data_dir=tmp_path / "sides", batch_size=16, pixels="0..255",
        augment=augment, validation_share=0.0,
    )  # fmt: skip
    train(
        model, data.train, None, TrainConfig(epochs=8, learning_rate=0.1, weight_decay=0.0),
        task=Classification.of(model), session=Session(progress="off"),
    )  # fmt: skip
    config = settings(tmp_path, data=str(tmp_path / "sides"), pictures=PictureSettings("0..255"))
    run_config, *_ = load_for(config, model, print)
    assert run_config.augment is augment


def test_a_limit_keeps_time_for_the_files_and_the_evaluations(tmp_path):
    """Four evaluations of 10 s, and four files of 15 s and twice such an evaluation."""
    from apps.compression import seconds_besides_training

    config = settings(tmp_path, formats=("float32", "int8"))
    assert seconds_besides_training(config, 10.0) == 4 * 10 + 4 * (15 + 2 * 10)
    budget = CompressConfig(target_macs="0.5x")
    config = settings(tmp_path, formats=("float32",), budget=budget)
    assert seconds_besides_training(config, 10.0) == 4 * 10 + 2 * (15 + 2 * 10)
