"""Small converted files for the tests of what accelerators take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from export.tflite import convert

RANGES = np.random.default_rng(0).random((16, 8, 8, 4)).astype("float32")


@pytest.fixture(scope="session")
def converted(tmp_path_factory) -> Callable[..., Path]:
    """Converts `build(inputs)` of 8×8×4 inputs to a format, each once."""
    folder = tmp_path_factory.mktemp("accelerators")
    made: dict[tuple, Path] = {}

    def file(build: Callable, format_: str = "float32") -> Path:
        if (build, format_) not in made:
            inputs = keras.Input((8, 8, 4))
            path = folder / f"{len(made)}.tflite"
            data = RANGES if format_ == "int8" else None
            model = keras.Model(inputs, build(inputs))
            convert(model, path, format_, representative_data=data)
            made[build, format_] = path
        return made[build, format_]

    return file


def gathered(x):
    """A gather between two convolutions, as surgery leaves it where channels are not aligned."""
    x = keras.layers.Conv2D(6, 3, padding="same")(x)
    x = keras.ops.take(x, np.array([4, 0, 1], "int32"), axis=-1)
    return keras.layers.Conv2D(4, 3)(x)
