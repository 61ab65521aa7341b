"""Scoring a segmentation .tflite against the Keras model that it was made from, with images."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from apps.task_files import TaskFiles
from export.interpreter import Runner
from keras_nas.data.segmentation import SegmentationData
from keras_nas.reporting.plots import save
from keras_nas.reporting.segmentation_images import segmentation_images
from keras_nas.tasks import Segmentation

IMAGES = 4


class SegmentationFiles(TaskFiles):
    """Of images, each pixel with its class."""

    def quality(self, path, model):
        return score_segmentation(path, model, self.data)

    def draw(self, files, model, folder):
        draw_predictions(model, self.data, folder / "segmentation_predictions.png")


def score_segmentation(
    path: Path, model: keras.Model, run_data: SegmentationData, threads: int = 2
) -> dict[str, float]:
    """Mean IoU and pixel accuracy of a .tflite on the test set, and how far it agrees with Keras.

    Args:
        path: The file.
        model: The Keras model.
        run_data: The data.
        threads: Threads of the interpreter.

    Returns:
        `miou` and `pixel_accuracy`, and `same_pixels`, the share of all pixels that both models
        give the same class.
    """
    runner = Runner(path, threads)
    metrics = Segmentation(run_data.num_classes).metrics()
    same = total = 0
    for images, targets in run_data.test.as_numpy_iterator():
        outputs = np.concatenate([runner([image[None]])[0] for image in images])
        for metric in metrics:
            metric.update_state(targets, outputs)
        expected = np.asarray(model(images, training=False)).argmax(axis=-1)
        same += int(np.sum(outputs.argmax(axis=-1) == expected))
        total += expected.size
    return {
        **{metric.name: float(metric.result()) for metric in metrics},
        "same_pixels": same / total,
    }


def draw_predictions(model: keras.Model, run_data: SegmentationData, path: Path) -> Path:
    """Draws the model's predictions for some images of the test set, evenly chosen.

    Returns:
        The path of the PNG.
    """
    batches = list(run_data.test.as_numpy_iterator())
    images, targets = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    chosen = np.linspace(0, len(images) - 1, min(IMAGES, len(images))).round().astype(int)
    images, targets = images[chosen], targets[chosen]
    predictions = np.asarray(model(images, training=False)).argmax(axis=-1)
    pixels = run_data.normalization.undo(images)
    return save(segmentation_images(pixels, targets, predictions, run_data.class_names), path)
