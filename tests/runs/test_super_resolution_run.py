"""A run on super-resolution data, through every stage, on images that are made here."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import keras
import numpy as np
import PIL.Image
import pytest
import skimage.data
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from apps.tflite_stages import tflite_stages
from export.interpreter import Runner
from keras_nas import costs
from keras_nas.data import names
from keras_nas.errors import UsageError
from keras_nas.reporting.run_contents import read_run
from keras_nas.reporting.run_sections import samples_section
from keras_nas.runs.config import STAGES, RunConfig, load_config
from keras_nas.runs.data import load_data
from keras_nas.runs.folder import RunFolder
from keras_nas.runs.run import run
from keras_nas.search import DnalConfig, TrainConfig
from keras_nas.training.session import SessionSettings

ADAM = TrainConfig(epochs=1, optimizer="adam", learning_rate=1e-3, weight_decay=0.0)
SETTINGS = DnalConfig(
    lambda_a=1e-4,
    weights=ADAM,
    architecture=dataclasses.replace(ADAM, learning_rate=0.05),
    finetune=ADAM,
)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    photograph = skimage.data.astronaut()
    for index in range(4):
        part = photograph[100 * index :, 90 * index :][:64, :80]
        PIL.Image.fromarray(part).save(folder / f"{index}.png")
    return RunConfig(
        run_dir=str(tmp_path_factory.mktemp("run")), stages=STAGES, model="edsr",
        model_config='{"filters": 8, "blocks": 1}', data="folder", data_dir=str(folder),
        batch_size=4, patch_size=16, steps_per_epoch=5, deterministic=False,
        session=SessionSettings(progress="off", tensorboard=True),
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(config):
    run(config, SETTINGS)
    return RunFolder(config.run_dir)


def test_results_have_psnr_and_ssim_of_bicubic_and_of_every_network(folder):
    rows = folder.read_results()["rows"]
    assert list(rows) == ["bicubic", "original", "gated", "pruned", "finetuned"]
    for row in rows.values():
        assert 5 < row["psnr_y"] < 60
        assert 0 < row["ssim_y"] < 1
    assert rows["pruned"]["psnr_y"] == pytest.approx(rows["gated"]["psnr_y"], abs=1e-3)
    assert "×2 super-resolution, 3 images for training" in folder.read_results()["data"]


def test_costs_are_those_of_an_image_of_1280_by_720(folder):
    row = folder.read_results()["rows"]["original"]
    model = keras.models.load_model(folder.original, compile=False)
    assert row["macs"] == costs.count(model, (360, 640, 3)).macs


@pytest.mark.parametrize("stage", ["weights", "architecture", "finetune"])
def test_tensorboard_has_images_of_every_stage(folder, stage):
    """Bicubic, the model's and the truth: three times 80×64 pixels, the image held out."""
    reader = EventAccumulator(
        str(folder.path / "tensorboard" / stage), size_guidance={"tensors": 0, "images": 0}
    ).Reload()
    (event,) = reader.Tensors("images")
    width, height, *images = event.tensor_proto.string_val
    assert (int(width), int(height)) == (3 * 80, 64)
    shown = np.asarray(PIL.Image.open(io.BytesIO(images[0])))
    truth = np.asarray(PIL.Image.open(Path(load_config(folder.path)[0].data_dir, "2.png")))
    np.testing.assert_array_equal(shown[:, 160:], truth)
    assert 0 < np.abs(shown[:, :80].astype(float) - truth).mean() < 20


def test_tflite_files_score_as_the_networks_do(folder, config):
    resumed = SessionSettings(resume=True, progress="off")
    exporting = dataclasses.replace(config, stages=("export",), session=resumed)
    run(exporting, SETTINGS, tflite_stages())
    rows = folder.read_results()["rows"]
    assert rows["original.tflite"]["psnr_y"] == pytest.approx(rows["original"]["psnr_y"], abs=0.02)
    assert rows["small.tflite"]["psnr_y"] == pytest.approx(rows["finetuned"]["psnr_y"], abs=0.02)
    runner = Runner(folder.path / "small.tflite")
    assert runner.input_shapes == [(1, 32, 32, 3)]  # the held-out image's smaller side
    low = np.random.default_rng(0).uniform(0, 1, (1, 32, 32, 3)).astype(np.float32)
    model = keras.models.load_model(folder.finetuned, compile=False)
    np.testing.assert_allclose(runner([low])[0], model(low), atol=1e-4)
    with PIL.Image.open(folder.plots / "triptych_2.png") as image:  # the one held out
        assert image.format == "PNG"
    section = samples_section(read_run(folder.path))
    assert [image.caption for image in section.images] == ["triptych 2"]


def test_settings_that_the_data_does_not_have_are_refused(config):
    assert {"photographs", "div2k", "folder", "cifar10"} <= set(names())
    with pytest.raises(UsageError, match="`image_size` must be 0 for --data=folder"):
        load_data(dataclasses.replace(config, image_size=32))
    with pytest.raises(UsageError, match="`cutout` must be 0"):
        load_data(dataclasses.replace(config, cutout=8))


def test_network_of_another_scale_is_refused(config, tmp_path):
    other = dataclasses.replace(
        config, run_dir=str(tmp_path), stages=("weights",), model_config='{"scale": 4}'
    )
    with pytest.raises(UsageError, match="`scale` must be that of the network, 4"):
        run(other, SETTINGS)
