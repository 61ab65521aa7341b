"""The EDSR demo from a folder of pictures to its files, at a tenth of a percent of its length."""

from __future__ import annotations

import json

import keras
import numpy as np
import PIL.Image
import pytest
import skimage.data
from rich.console import Console

from benchmarks.edsr_demo import EdsrDemoConfig, run
from export.interpreter import Runner
from keras_nas.errors import UsageError


@pytest.fixture
def folder(tmp_path):
    photograph = skimage.data.astronaut()
    (tmp_path / "pictures").mkdir()
    for index in range(4):
        part = photograph[100 * index :, 90 * index :][:96, :112]
        PIL.Image.fromarray(part).save(tmp_path / "pictures" / f"{index}.png")
    return tmp_path


def test_demo_writes_a_model_a_tflite_scores_and_a_triptych(folder):
    config = EdsrDemoConfig(
        run_dir=str(folder / "run"), data="folder", data_dir=str(folder / "pictures"),
        filters=4, blocks=1, patch_size=16, batch_size=4, steps_per_epoch=6, epochs=1,
        tflite_size=24, progress="off",
    )  # fmt: skip
    with open(folder / "printed.txt", "w", encoding="utf-8") as printed:
        scores = run(config, Console(file=printed, width=120))
    assert [score.name for score in scores] == ["2"]

    model = keras.models.load_model(folder / "run" / "edsr.keras")
    low = np.random.default_rng(0).uniform(0, 1, (1, 24, 24, 3)).astype(np.float32)
    (output,) = Runner(folder / "run" / "edsr.tflite")([low])
    np.testing.assert_allclose(output, model(low), atol=1e-5)

    written = json.loads((folder / "run" / "scores.json").read_text())
    assert written["keras"][0]["psnr"] == scores[0].psnr
    assert written["tflite"][0]["psnr"] == pytest.approx(scores[0].psnr, abs=5e-3)
    assert written["params"] == model.count_params()
    text = (folder / "printed.txt").read_text()
    assert "×2 super-resolution, 3 pictures for training, 1 held out" in text
    assert f"{scores[0].gain:+.2f}" in text
    with PIL.Image.open(folder / "run" / "triptych.png") as picture:
        assert picture.format == "PNG"


def test_wrong_settings_are_named():
    with pytest.raises(UsageError, match="`epochs` must be 1 or more"):
        EdsrDemoConfig(epochs=0)
    with pytest.raises(UsageError, match="`data` must be one of"):
        EdsrDemoConfig(data="imagenet")
