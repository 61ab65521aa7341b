"""The .tflite files of a run by its task: what they are compared on, how good they are, images."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from apps.model_evaluation import evaluate_tflite
from export.export_model import ExportData
from export.interpreter import Runner
from export.metadata import ModelCard
from keras_nas.data.image_pairs import ImagePair
from keras_nas.data.task_data import TaskData
from keras_nas.reporting.held_out_images import (
    classification_images,
    segmentation_images,
    triptych,
)
from keras_nas.reporting.plots import save
from keras_nas.tasks import Classification, Segmentation
from keras_nas.tasks.receptive_field import receptive_radius
from keras_nas.tasks.super_resolution import evaluate_pairs, mean_score
from keras_nas.tasks.super_resolution_evaluation import Enlarger


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

    def ranges(self, shape: tuple[int, ...] | None) -> Any:
        """What a quantised file of that input shape takes its ranges from."""
        return self.data.train

    @abc.abstractmethod
    def quality(self, path: Path, model: keras.Model) -> dict[str, float]:
        """Metrics of a file on the test set.

        Args:
            path: The file.
            model: The Keras model that it was made from.
        """

    @abc.abstractmethod
    def card(self, model: keras.Model, description: str) -> ModelCard | None:
        """What a file's metadata say of the model, its data and the pixels that it wants.

        Args:
            model: The model.
            description: What it is.

        Returns:
            None where metadata cannot say which pixels it wants.
        """

    @abc.abstractmethod
    def draw(self, files: Mapping[str, Path], model: keras.Model, folder: Path) -> None:
        """Draws what the small network makes of some held-out images.

        Args:
            files: The float32 files "original" and "small".
            model: The small network.
            folder: Where PNGs are written.
        """


class ClassificationFiles(TaskFiles):
    """Of images, each with its class."""

    IMAGES = 18

    def held_out(self, shape):
        return ExportData(held_out=self.data.test, metric="top1")

    def quality(self, path, model):
        return evaluate_tflite(path, self.data.test, task=Classification.of(model))

    def card(self, model, description):
        """A single sigmoid has one name, of class 1, whose probability it is."""
        return _card_of_classes(self.data, model, "classification", description)

    def draw(self, files, model, folder):
        """Draws the first images of the test set with the class that each file gives them."""
        images, targets = next(iter(self.data.test.unbatch().batch(self.IMAGES)))
        images, targets = np.asarray(images), np.asarray(targets)
        answers = {name: _answers(path, images) for name, path in files.items()}
        pixels = self.data.normalization.undo(images)
        drawn = classification_images(pixels, targets, answers, self.data.class_names)
        save(drawn, folder / "held_out_pictures.png")


class SegmentationFiles(TaskFiles):
    """Of images, each pixel with its class."""

    IMAGES = 4

    def quality(self, path, model):
        """Adds `same_pixels`, the share of all pixels to which both models give the same class."""
        runner = Runner(path, threads=2)
        metrics = Segmentation(self.data.num_classes).metrics()
        same = total = 0
        for images, targets in self.data.test.as_numpy_iterator():
            outputs = np.concatenate([runner([image[None]])[0] for image in images])
            for metric in metrics:
                metric.update_state(targets, outputs)
            expected = np.asarray(model(images, training=False)).argmax(axis=-1)
            same += int(np.sum(outputs.argmax(axis=-1) == expected))
            total += expected.size
        values = {metric.name: float(metric.result()) for metric in metrics}
        return {**values, "same_pixels": same / total}

    def card(self, model, description):
        return _card_of_classes(self.data, model, "segmentation", description)

    def draw(self, files, model, folder):
        """Draws the model's predictions for some images of the test set, evenly chosen."""
        batches = list(self.data.test.as_numpy_iterator())
        images, targets = (np.concatenate(parts) for parts in zip(*batches, strict=True))
        chosen = _evenly(len(images), self.IMAGES)
        images, targets = images[chosen], targets[chosen]
        predictions = np.asarray(model(images, training=False)).argmax(axis=-1)
        pixels = self.data.normalization.undo(images)
        drawn = segmentation_images(pixels, targets, predictions, self.data.class_names)
        save(drawn, folder / "segmentation_predictions.png")


class SuperResolutionFiles(TaskFiles):
    """Of images at low and high resolution, window by window."""

    IMAGES = 3
    WINDOW = 128
    """Height and width of the input where the network leaves them open; less where a held-out image
    is smaller."""

    def input_shape(self, model):
        smallest = min(min(pair.low.shape[:2]) for pair in self.data.test_pairs)
        sizes = (size or min(self.WINDOW, smallest) for size in model.input_shape[1:3])
        return (1, *sizes, model.input_shape[3])

    def held_out(self, shape):
        """A window of each image."""
        return ExportData(held_out=self._windows(self.data.test_pairs, shape))

    def ranges(self, shape):
        """A window of each training image."""
        return self._windows(self.data.train_pairs, shape)

    def _windows(self, pairs: Iterable[ImagePair], shape: tuple[int, ...]) -> list[np.ndarray]:
        size = shape[1:3]
        windows = [pair.low[: size[0], : size[1]][np.newaxis] for pair in pairs]
        fitting = [window for window in windows if window.shape[1:3] == size]
        unit = np.float32(self.data.value_range / 255)
        return [window.astype(np.float32) * unit for window in fitting]

    def quality(self, path, model):
        """Means: `psnr_y` in dB, and `ssim_y`."""
        mean = mean_score(evaluate_pairs(self._enlarger(path, model), self.data.test_pairs))
        return {"psnr_y": mean.psnr, "ssim_y": mean.ssim}

    def card(self, model, description):
        white = 255.0 / self.data.value_range
        return ModelCard(model.name, "image_to_image", description, std=(white,))

    def draw(self, files, model, folder):
        """Draws bicubic / .tflite / truth for some held-out images, evenly chosen."""
        path, pairs = files["small"], self.data.test_pairs
        enlarge = self._enlarger(path, model)
        for pair in (pairs[index] for index in _evenly(len(pairs), self.IMAGES)):
            drawn = triptych(pair, enlarge(pair.low), label=path.name)
            save(drawn, folder / f"triptych_{pair.name}.png")

    def _enlarger(self, path: Path, model: keras.Model) -> Enlarger:
        """By a file of a fixed input size, tile by tile; the model tells how far it looks."""
        runner = Runner(path, threads=2)
        height, width = runner.input_shapes[0][1:3]
        return Enlarger(
            lambda batch: runner([batch])[0],
            self.data.value_range,
            overlap=receptive_radius(model),
            window=(height, width),
        )


FILES: dict[str, type[TaskFiles]] = {
    "classification": ClassificationFiles,
    "segmentation": SegmentationFiles,
    "super_resolution": SuperResolutionFiles,
}


def _card_of_classes(
    data: TaskData, model: keras.Model, task: str, description: str
) -> ModelCard | None:
    if data.normalization.bgr:
        return None
    labels = data.class_names[1:] if model.output_shape[-1] == 1 else data.class_names
    mean, std = data.normalization.pixels
    return ModelCard(model.name, task, description, labels, mean=mean, std=std)


def _answers(path: Path, images: np.ndarray) -> np.ndarray:
    runner = Runner(path)
    return np.concatenate([runner([image[None]])[0] for image in images]).argmax(axis=-1)


def _evenly(count: int, most: int) -> np.ndarray:
    """Up to `most` of `count` places, evenly chosen."""
    return np.linspace(0, count - 1, min(most, count)).round().astype(int)
