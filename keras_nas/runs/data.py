"""What differs between the tasks of a run: data by name, the task, how networks are counted."""

from __future__ import annotations

from typing import Any, TypeAlias

import keras
import numpy as np

from keras_nas import data
from keras_nas.data import segmentation, super_resolution_sets
from keras_nas.data.bicubic import imresize
from keras_nas.data.super_resolution import PatchConfig
from keras_nas.data.super_resolution_sets import SuperResolutionData
from keras_nas.errors import UsageError
from keras_nas.tasks import Classification, Segmentation, SuperResolution, Task

RunData: TypeAlias = data.TaskData | SuperResolutionData

WITH_CUTOUT = ("fashion_mnist", "cifar10")
"""Data whose pictures cutout can be done on."""

_HD_OUTPUT = (720, 1280)


def load_data(config: Any, settings: Any = None, stage: str = "") -> RunData:
    """The data of a run, or of one of its stages.

    Args:
        config: a `keras_nas.runs.run.RunConfig`.
        settings: the method's configuration. Where it learns structure on data of their own
            (DSO's `split` and `split_ratio`), the data has that part, `structure`.
        stage: the stage that it is for, whose batch size and cutout it has; by default the run's
            batch size and no cutout.

    Raises:
        KerasNasError: the data is missing or damaged.
        UsageError: a setting that the data does not have was given.
    """
    _check_cutout(config)
    batch_size = config.batch_size_of(stage)
    if config.data in super_resolution_sets.NAMES:
        return _load_super_resolution(config, batch_size)
    splits = getattr(settings, "split", False)
    common = {
        "data_dir": config.data_dir or None,
        "batch_size": batch_size,
        "seed": config.seed,
        "train_examples": config.train_examples or None,
        "image_size": config.image_size or None,
        "validation_share": config.validation_share,
        "split_ratio": settings.split_ratio if splits else None,
        "augment": config.augment,
    }
    if config.data in segmentation.NAMES:
        _refuse(config.data, label_smoothing=config.label_smoothing)
        return segmentation.load(config.data, **common)
    return data.load(config.data, **common, cutout=config.cutout_of(stage))


def task_of(run_data: RunData, model: keras.Model, label_smoothing: float = 0.0) -> Task:
    """The task of a network on the data.

    Args:
        run_data: the data.
        model: the network.
        label_smoothing: ε, for classification.

    Raises:
        KerasNasError: the network's output does not fit the data.
    """
    if isinstance(run_data, SuperResolutionData):
        task = SuperResolution.of(model, run_data.value_range)
        if task.scale != run_data.scale:
            raise UsageError(
                f"`scale` must be that of the network, {task.scale}. "
                f"Received: scale={run_data.scale}"
            )
        return task
    if isinstance(run_data, segmentation.SegmentationData):
        return Segmentation.of(model)
    return Classification.of(model, label_smoothing)


def builder_arguments(run_data: RunData) -> dict[str, Any]:
    """The arguments that fit a backbone's builder to the data."""
    if isinstance(run_data, SuperResolutionData):
        return {"scale": run_data.scale, "value_range": run_data.value_range}
    return {"input_shape": list(run_data.image_shape), "num_classes": run_data.num_classes}


def counting_shape(run_data: RunData, model: keras.Model) -> tuple[int, int, int] | None:
    """The input (height, width, channels) to count costs at, `None` for the network's own.

    Super-resolution networks of open size are counted for an output of 1280×720, as papers do.
    """
    shape = model.inputs[0].shape
    if not isinstance(run_data, SuperResolutionData) or None not in shape[1:]:
        return None
    height, width = (size // run_data.scale for size in _HD_OUTPUT)
    return height, width, shape[-1]


def baseline_rows(run_data: RunData) -> dict[str, dict[str, float]]:
    """Rows of a run's results that need no network: bicubic enlargement for super-resolution."""
    if not isinstance(run_data, SuperResolutionData):
        return {}
    metrics = SuperResolution(run_data.scale, 255.0).metrics()
    for pair in run_data.test_pairs:
        enlarged = imresize(pair.low, float(run_data.scale))
        for metric in metrics:
            metric.update_state(pair.high[np.newaxis], enlarged[np.newaxis])
    return {"bicubic": {metric.name: float(metric.result()) for metric in metrics}}


def _load_super_resolution(config: Any, batch_size: int) -> SuperResolutionData:
    _refuse(
        config.data,
        train_examples=config.train_examples,
        image_size=config.image_size,
        label_smoothing=config.label_smoothing,
    )
    return super_resolution_sets.load(
        config.data,
        data_dir=config.data_dir or None,
        scale=config.scale,
        patches=PatchConfig(
            patch_size=config.patch_size,
            batch_size=batch_size,
            steps_per_epoch=config.steps_per_epoch,
            augment=config.augment,
            value_range=float(config.value_range),
            seed=config.seed,
        ),
        cache_dir=config.cache_dir or None,
    )


def _check_cutout(config: Any) -> None:
    """Raises `UsageError` for a cutout that the data does not have, whichever stage asks."""
    if config.data not in WITH_CUTOUT:
        _refuse(config.data, cutout=config.cutout)
    elif config.cutout and not config.augment:
        raise UsageError(f"`cutout` needs `augment`. Received: cutout={config.cutout} without it")


def _refuse(name: str, **foreign: float) -> None:
    """Raises `UsageError` for a setting that the data does not have."""
    for setting, value in foreign.items():
        if value:
            raise UsageError(
                f"`{setting}` must be 0 for --data={name}. Received: {setting}={value}"
            )
