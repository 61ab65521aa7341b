"""A folder of pictures in three classes, and a small model that was trained on them."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import PIL.Image

from keras_nas.data import load
from keras_nas.search import Session, TrainConfig, train
from keras_nas.tasks import Classification

SIDE = 12
"""Of the pictures, where nothing else is asked for."""
COLOURS = {"dark": 60, "middle": 120, "bright": 190}


def write_pictures(root, part, each, seed, side=SIDE):
    """Grey noise about one of three levels, square pictures, in a folder for each level."""
    random = np.random.default_rng(seed)
    for name, level in COLOURS.items():
        folder = root / part / name
        folder.mkdir(parents=True)
        for number in range(each):
            pixels = random.normal(level, 25, (side, side, 3)).clip(0, 255).astype("uint8")
            PIL.Image.fromarray(pixels).save(folder / f"{number}.png")


def net(side=SIDE):
    """Two convolutions for square colour pictures of 0 to 255, and logits of three classes."""
    inputs = keras.Input((side, side, 3), name="image")
    x = keras.layers.Rescaling(1 / 50, -2.5, name="rescaling")(inputs)
    for name in ("a", "b"):
        x = keras.layers.Conv2D(16, 3, 2, "same", use_bias=False, name=f"{name}_conv")(x)
        x = keras.layers.BatchNormalization(momentum=0.8, name=f"{name}_bn")(x)
        x = keras.layers.ReLU(name=f"{name}_relu")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, keras.layers.Dense(3, name="classifier")(x), name="net")


def make(root: Path, side: int = SIDE) -> keras.Model:
    """Writes `root`/photos (train and test) and `root`/model.keras, and returns the model.

    Args:
        root: A folder.
        side: Of the pictures: at `SIDE` the model takes microseconds, most of them not arithmetic.
    """
    write_pictures(root / "photos", "train", 60, 0, side)
    write_pictures(root / "photos", "test", 20, 1, side)
    data = load(
        "class_folders", data_dir=root / "photos", batch_size=16, validation_share=0.0,
        pixels="0..255",
    )  # fmt: skip
    keras.utils.set_random_seed(0)
    model = net(side)
    train(
        model, data.train, None, TrainConfig(epochs=4, learning_rate=0.05),
        task=Classification.of(model), session=Session(progress="off"),
    )  # fmt: skip
    model.save(root / "model.keras")
    return model
