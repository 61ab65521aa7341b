"""What can be known to go wrong before a run has trained anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from keras_nas.data import DataSet
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.runs.config import read_config
from keras_nas.runs.folder import RunFolder
from keras_nas.settings import check_settings
from keras_nas.tasks import make_task
from keras_nas.tasks.task import fits, shown_shape
from keras_nas.training.loop import checkpoint_directory
from keras_nas.training.stage import epoch_of


def check_run_folder(
    folder: RunFolder,
    directory: Path,
    stages: Sequence[str],
    now: Mapping[str, Any],
    free: frozenset[str],
    resume: bool,
) -> None:
    """Refuses a folder that holds another run, or stages that would be lost.

    Args:
        folder: The run's folder (of this host).
        directory: The folder that all hosts share, with the checkpoints.
        stages: The stages to run.
        now: The settings that decide the run, by flat name.
        free: The names of settings that may differ.
        resume: Whether the run goes on.

    Raises:
        KerasNasError: A setting differs from the run that is resumed, config.json is damaged, or a
            stage has checkpoints already and neither resumes nor overwrites.
    """
    if not folder.config.exists():
        return
    if resume:
        saved = read_config(folder.path)
        before = {k: v for k, v in {**saved["run"], **saved["settings"]}.items() if k not in free}
        for name in ("method", "model", "data"):  # these bring other settings with them
            check_settings({name: before.get(name)}, {name: now.get(name)})
        check_settings(before, dict(now))
        return
    for stage in stages:
        checkpoints = checkpoint_directory(directory, stage)
        if checkpoints.exists():
            raise KerasNasError(
                f"Stage '{stage}' has checkpoints in {checkpoints}: `--resume` continues from "
                "them, `--overwrite` starts the stage again."
            )


def check_fits(model: keras.Model, run_data: DataSet, name: str) -> None:
    """Compares a network's input and output with the data, by their shapes alone.

    Args:
        model: The network.
        run_data: The data.
        name: The data's name, for messages.

    Raises:
        UsageError: The network takes or gives something else than the data has.
    """
    where = f"Model '{model.name}' does not fit --data={name}: it"
    _check_input(model, run_data, where)
    make_task(run_data, model).check_fits(run_data, model, where)


def side_of(model: keras.Model, task: str) -> int:
    """`image_size_for` the pictures that a network takes."""
    inputs = getattr(model, "inputs", None)
    return image_size_for(inputs[0].shape if inputs else (), task)


def image_size_for(shape: Sequence[int | None], task: str) -> int:
    """The `image_size` with which data has a shape `(batch, height, width, channels)`.

    Segmentation's is the longer side, which keeps the pictures' proportions; elsewhere it makes
    squares. 0, for the data's own size, where the sides are open, or are no square's.
    """
    if len(shape) != 4:
        return 0
    height, width = (size or 0 for size in shape[1:3])
    if task == "segmentation":
        return max(height, width)
    return height if height == width else 0


def _check_input(model: keras.Model, run_data: DataSet, where: str) -> None:
    inputs = getattr(model, "inputs", None)
    if not inputs:
        raise UsageError(
            f"{where} was saved before it was built, so its input's shape is not known: call it "
            "on a batch, or begin it with keras.Input, and save it again."
        )
    if len(inputs) > 1:
        raise UsageError(f"{where} has {len(inputs)} inputs, and the data has images alone.")
    if not keras.backend.is_float_dtype(inputs[0].dtype):
        raise UsageError(f"{where} takes {inputs[0].dtype} inputs, and the data has float32.")
    given = tuple(epoch_of(run_data.train, 0).element_spec[0].shape)[1:]
    wanted = tuple(inputs[0].shape)[1:]
    if not fits(given, wanted):
        raise UsageError(
            f"{where} takes inputs of {shown_shape(wanted)}, and the data has {shown_shape(given)}"
            f"{_advice(wanted, given, run_data)}."
        )


def _advice(wanted: tuple, given: tuple, run_data: DataSet) -> str:
    """How the data could be brought to the network's size, where that is possible."""
    if run_data.resizes and len(wanted) == 3 and wanted[2:] == given[2:] and wanted[0] == wanted[1]:
        return f" (--image_size={wanted[0]} resizes them)"
    return ""
