"""A classifier's .tflite files: top-1 and top-5, and images of what they answer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from apps.model_evaluation import evaluate_tflite
from apps.task_files import TaskFiles
from export.export_model import ExportData
from export.interpreter import Runner
from keras_nas.data import TaskData
from keras_nas.reporting.classification_images import classification_images
from keras_nas.reporting.plots import save
from keras_nas.tasks import Classification

IMAGES = 18


class ClassificationFiles(TaskFiles):
    """Of images, each with its class."""

    def held_out(self, shape):
        return ExportData(held_out=self.data.test, metric="top1")

    def quality(self, path, model):
        return evaluate_tflite(path, self.data.test, task=Classification.of(model))

    def draw(self, files, model, folder):
        draw_answers(files, self.data, folder / "held_out_pictures.png")


def draw_answers(files: Mapping[str, Path], run_data: TaskData, path: Path) -> Path:
    """Draws the first images of the test set with the class that each file gives them.

    Args:
        files: .tflite files by the name to show.
        run_data: The data.
        path: The PNG.

    Returns:
        The path of the PNG.
    """
    shown = run_data.test.unbatch().batch(IMAGES)
    images, targets = next(iter(shown.as_numpy_iterator()))
    answers = {}
    for name, file in files.items():
        runner = Runner(file)
        outputs = np.concatenate([runner([image[None]])[0] for image in images])
        answers[name] = outputs.argmax(axis=-1)
    pixels = run_data.normalization.undo(images)
    return save(classification_images(pixels, targets, answers, run_data.class_names), path)
