"""A task's .tflite files: what they are compared on, how good they are, and images of it."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from export.export_model import ExportData


class TaskFiles(abc.ABC):
    """What the export of a run must know of a task.

    Args:
        data: The run's data.
    """

    def __init__(self, data: Any):
        self.data = data

    def input_shape(self, model: keras.Model) -> tuple[int, ...] | None:
        """The input's shape in the file; None for the model's own."""
        return None

    def held_out(self, shape: tuple[int, ...] | None) -> ExportData:
        """What a file of that input shape is compared with its model on."""
        return ExportData(held_out=self.data.test)

    @abc.abstractmethod
    def quality(self, path: Path, model: keras.Model) -> dict[str, float]:
        """Metrics of a file on the test set.

        Args:
            path: The file.
            model: The Keras model that it was made from.
        """

    @abc.abstractmethod
    def draw(self, files: Mapping[str, Path], model: keras.Model, folder: Path) -> None:
        """Draws what the small network makes of some held-out images.

        Args:
            files: The float32 files "original" and "small".
            model: The small network.
            folder: Where PNGs are written.
        """
