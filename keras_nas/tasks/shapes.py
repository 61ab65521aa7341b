"""Shapes of networks and of data: as text, and what must agree."""

from __future__ import annotations

import keras

from keras_nas.errors import UsageError


def shown(shape: tuple) -> str:
    """A shape as text, such as "any×any×3"."""
    return "×".join("any" if size is None else str(size) for size in shape) or "no axis"


def check_classes(model: keras.Model, classes: int, where: str) -> None:
    """Raises `UsageError` unless a network gives `classes`, or one output for two."""
    channels = model.outputs[0].shape[-1]
    if channels != classes and not (channels == 1 and classes == 2):
        raise UsageError(f"{where} gives {channels} classes, and the data has {classes}.")
