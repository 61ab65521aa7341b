"""apps.compress on a segmentation folder and a super-resolution folder, whole."""

from __future__ import annotations

import keras
import numpy as np
import PIL.Image
import pytest

from apps.compress_config import CompressAppConfig
from apps.compression import compress_file
from keras_nas import models
from keras_nas.compression.config import CompressConfig
from keras_nas.data import load
from keras_nas.search import Session, TrainConfig, train
from keras_nas.tasks import make_task
from keras_nas.training.session import SessionSettings

pytestmark = pytest.mark.slow
RANDOM = np.random.default_rng(0)


def segmentation(folder):
    """Bright squares on dark noise, and a network that finds them, trained on pixels of 0 to 1."""
    for part, count in (("train", 24), ("test", 8)):
        for kind in ("images", "labels"):
            (folder / part / kind).mkdir(parents=True)
        for number in range(count):
            labels = np.zeros((16, 16), "uint8")
            top, left = RANDOM.integers(0, 8, 2)
            labels[top : top + 8, left : left + 8] = 1
            image = RANDOM.normal(60, 15, (16, 16, 3)) + 110 * labels[..., None]
            image = PIL.Image.fromarray(image.clip(0, 255).astype("uint8"))
            image.save(folder / part / "images" / f"{number}.png")
            PIL.Image.fromarray(labels).save(folder / part / "labels" / f"{number}.png")
    data = load(
        "segmentation_folders", data_dir=folder, batch_size=4, pixels="0..1", validation_share=0.0
    )
    inputs = x = keras.Input((16, 16, 3))
    for name in ("a", "b"):
        x = keras.layers.Conv2D(8, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
        x = keras.layers.BatchNormalization(momentum=0.8, name=f"{name}_bn")(x)
        x = keras.layers.ReLU(name=f"{name}_relu")(x)
    model = keras.Model(inputs, keras.layers.Conv2D(2, 1, name="head")(x), name="finder")
    return data, model, TrainConfig(epochs=8, learning_rate=0.1)


def super_resolution(folder):
    """Smooth random pictures, and a small EDSR of open size, trained with white as 1."""
    folder.mkdir()
    for number in range(6):
        coarse = PIL.Image.fromarray(RANDOM.integers(0, 255, (12, 12, 3)).astype("uint8"))
        coarse.resize((64, 64), PIL.Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    data = load("folder", data_dir=folder, batch_size=4, patch_size=24, steps_per_epoch=100)
    config = TrainConfig(epochs=2, optimizer="adam", learning_rate=3e-3, weight_decay=0.0)
    return data, models.edsr(2, filters=8, blocks=2), config


@pytest.mark.parametrize(
    ("make", "said", "row"),
    [
        (segmentation, "by trying: mean IoU", "int8 miou"),
        (super_resolution, "white is 1, by trying: PSNR", "int8 psnr y"),
    ],
)
def test_a_folder_of_another_task(make, said, row, tmp_path, capsys):
    data, model, config = make(tmp_path / "pictures")
    task = make_task(data, model)
    train(model, data.train, None, config, task=task, session=Session(progress="off"))
    model.save(tmp_path / "model.keras")
    outcome, page = compress_file(
        CompressAppConfig(
            model=str(tmp_path / "model.keras"),
            data=str(tmp_path / "pictures"),
            output=str(tmp_path / "small"),
            budget=CompressConfig(target_macs="0.6x", epochs=2, round_to=1),
            batch_size=4,
            patch_size=24,
            steps_per_epoch=5,
            session=SessionSettings(progress="lines"),
        )
    )
    assert said in capsys.readouterr().err
    rows = {row.name: row for row in outcome.rows}
    assert rows["macs"].met
    assert rows[row].original > 0.8
    assert rows["int8 time"].small > 0
    assert page.stat().st_size > 10_000
