"""Tasks: the loss and the metrics of each, by the name that data says it is for."""

from __future__ import annotations

import keras

from keras_nas.data.task_data import DataSet
from keras_nas.tasks.classification import Classification
from keras_nas.tasks.pixel_guess import PixelGuess, guess_pixels
from keras_nas.tasks.regression import Regression
from keras_nas.tasks.segmentation import Segmentation
from keras_nas.tasks.super_resolution import SuperResolution
from keras_nas.tasks.task import Task

__all__ = [
    "TASKS",
    "Classification",
    "PixelGuess",
    "Regression",
    "Segmentation",
    "SuperResolution",
    "Task",
    "guess_pixels",
    "make_task",
]

TASKS: dict[str, type[Task]] = {
    "classification": Classification,
    "segmentation": Segmentation,
    "super_resolution": SuperResolution,
}


def make_task(data: DataSet, model: keras.Model, label_smoothing: float = 0.0) -> Task:
    """The task of a network on the data.

    Args:
        data: The data.
        model: The network.
        label_smoothing: ε, for tasks that have it (`Task.smooths_labels`).

    Raises:
        KerasNasError: The network's output does not fit the data.
    """
    kind = TASKS[data.task]
    smoothing = {"label_smoothing": label_smoothing} if kind.smooths_labels else {}
    return kind.for_data(data, model, **smoothing)
