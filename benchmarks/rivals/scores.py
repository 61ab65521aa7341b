"""How good a network is, by its task's own metric."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras

from keras_nas.data import DataSet
from keras_nas.tasks import SuperResolution, Task
from keras_nas.tasks.super_resolution import evaluate_folder, mean_score
from keras_nas.training.evaluation import Evaluator


def scores(
    model: keras.Model, task: Task, data: DataSet, test_dirs: Sequence[str] = ()
) -> dict[str, float]:
    """The metrics of a network by name, the one that counts first.

    Args:
        model: The network.
        task: Its task; its `monitor` is measured on the data's test set, or for super-resolution on
            the middle of each held-out picture.
        data: The data.
        test_dirs: For super-resolution: folders of pictures, such as Set14, each of which gives
            another metric, `psnr_y_Set14`.
    """
    held_out = data.test
    if isinstance(task, SuperResolution):
        assert data.validation is not None
        model, held_out = of_any_size(model), data.validation
    found = {task.monitor: Evaluator(model, task, held_out)()[task.monitor]}
    for folder in test_dirs:
        assert isinstance(task, SuperResolution)
        pictures = evaluate_folder(model, folder, task.scale, task.value_range)
        found[f"{task.monitor}_{Path(folder).name}"] = mean_score(pictures).psnr
    return found


def of_any_size(model: keras.Model) -> keras.Model:
    """A copy of a network of images, with the same weights, that takes images of any size."""
    inputs = keras.Input((None, None, model.input_shape[-1]), name=model.inputs[0].name)
    copy = keras.models.clone_model(model, input_tensors=inputs)
    copy.set_weights(model.get_weights())
    return copy
