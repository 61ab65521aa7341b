"""The exported files in real clients: MediaPipe Tasks and tflite-support's Task Library.

Each client runs in an environment of its own that the test makes (half a gigabyte for MediaPipe).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from scipy import ndimage

from export import metadata
from export.export_model import ExportData, export_model
from export.export_options import ExportOptions
from export.interpreter import Runner
from export.task_metrics import mean_iou

pytestmark = pytest.mark.slow

CLIENTS = Path(__file__).parent / "clients"
REQUIREMENTS = {"mediapipe": "mediapipe==1.2.2", "task_library": "tflite-support==0.4.4"}
DIGITS = tuple(f"digit {i}" for i in range(10))
PARTS = ("paper", "outline", "ink")


def environment(folder: Path, *requirements: str) -> Path:
    """Returns the interpreter of a virtual environment with `requirements`, made if need be.

    A folder is used again once its installation was finished.
    """
    python = folder / "bin" / "python"
    finished = folder / "finished.txt"
    wanted = "\n".join(requirements)
    if not finished.exists() or finished.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=True)
        finished.write_text(wanted)
    return python


def run_in(python: Path, script: Path, *arguments: object) -> str:
    """Runs a program in an environment, without this one's modules, and returns its output."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "KERAS"))}
    process = subprocess.run(
        [python, script, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=variables,
        cwd=script.parent,
        timeout=300,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-2000:]
    return process.stdout


@pytest.fixture(scope="module", params=list(REQUIREMENTS))
def client(request):
    folder = Path(request.config.cache.mkdir("clients")) / request.param
    return request.param, environment(folder, REQUIREMENTS[request.param])


@pytest.fixture(scope="module")
def pixels(images):
    """The held-out digits as 8-bit images."""
    return np.round(images.test_x[:25] * 255).astype(np.uint8)


def parts_of(images):
    """The class of every pixel: paper, outline (the ink's border), ink."""
    masks = []
    for image in images:
        ink = image[..., 0] > 0.4
        masks.append(ink.astype(int) + ndimage.binary_dilation(ink))
    return np.stack(masks)


@pytest.fixture(scope="module")
def segmenter(images):
    layers = keras.layers
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(inputs)
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(x)
    model = keras.Model(inputs, layers.Conv2D(3, 1, activation="softmax")(x))
    model.compile(keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy")
    model.fit(images.train_x, parts_of(images.train_x), epochs=6, batch_size=32, verbose=0)
    return model


def ask(client, what, model, pixels, folder):
    name, python = client
    paths = []
    for number, image in enumerate(pixels):
        paths.append(folder / f"{number}.npy")
        np.save(paths[-1], image)
    return json.loads(run_in(python, CLIENTS / f"{name}_client", what, model, *paths))


@pytest.mark.parametrize("format_", ["float32", "int8"])
def test_both_clients_name_the_classes_as_we_do(
    client, format_, classifier, images, pixels, tmp_path
):
    card = metadata.ModelCard("digits", "classification", labels=DIGITS)
    data = ExportData(images.train_x, (images.test_x, images.test_y), "top1")
    options = ExportOptions(io_dtype="uint8" if format_ == "int8" else "float32")
    exported, parity = export_model(classifier, tmp_path / "m.tflite", format_, data, card, options)
    assert parity.metric_tflite > 85
    answers = ask(client, "classifier", exported.path, pixels, tmp_path)
    runner = Runner(exported.path)
    for image, answer in zip(pixels, answers, strict=True):
        (ours,) = runner([image[None].astype("float32") / 255])[0]
        scores = dict(answer)
        assert set(scores) == set(DIGITS)
        found = np.array([scores[label] for label in DIGITS])
        np.testing.assert_allclose(found, ours, atol=1 / 255 if format_ == "int8" else 2e-3)
        assert ours[DIGITS.index(answer[0][0])] >= ours.max() - 1e-3


def test_both_clients_give_our_masks(client, segmenter, images, pixels, tmp_path):
    card = metadata.ModelCard(
        "digit parts", "segmentation", labels=PARTS,
        colors=((255, 255, 255), (128, 128, 128), (0, 0, 0)),
    )  # fmt: skip
    data = ExportData(images.train_x, (images.test_x, parts_of(images.test_x)), "mean_iou")
    exported, parity = export_model(segmenter, tmp_path / "m.tflite", "float32", data, card)
    assert parity.metric_tflite > 90
    answers = ask(client, "segmenter", exported.path, pixels, tmp_path)
    runner = Runner(exported.path)
    ours = np.concatenate([runner([p[None].astype("float32") / 255])[0] for p in pixels])
    assert len(np.unique(ours.argmax(-1))) == 3
    for answer in answers:
        assert answer["labels"][: len(PARTS)] == list(PARTS)
    masks = np.array([answer["mask"] for answer in answers])
    assert np.mean(masks == ours.argmax(-1)) > 0.9995
    assert mean_iou(masks, ours) > 99.8
