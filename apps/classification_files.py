"""Pictures of what a classifier's .tflite files answer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from export.interpreter import Runner
from keras_nas.data import TaskData
from keras_nas.reporting.classification_pictures import classification_pictures
from keras_nas.reporting.plots import save

PICTURES = 18


def draw_answers(files: Mapping[str, Path], run_data: TaskData, path: Path) -> Path:
    """Draws the first pictures of the test set with the class that each file gives them.

    Args:
        files: .tflite files by the name to show.
        run_data: the data.
        path: the PNG.

    Returns:
        The path of the PNG.
    """
    pictures = run_data.test.unbatch().batch(PICTURES)
    images, targets = next(iter(pictures.as_numpy_iterator()))
    answers = {}
    for name, file in files.items():
        runner = Runner(file)
        outputs = np.concatenate([runner([image[None]])[0] for image in images])
        answers[name] = outputs.argmax(axis=-1)
    pixels = run_data.normalization.undo(images)
    return save(classification_pictures(pixels, targets, answers, run_data.class_names), path)
