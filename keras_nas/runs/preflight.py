"""What can be known to go wrong before a run has trained anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from keras_nas.data.segmentation import SegmentationData
from keras_nas.data.super_resolution_sets import SuperResolutionData
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.runs.config import read_config
from keras_nas.runs.data import RunData, task_of
from keras_nas.runs.folder import RunFolder
from keras_nas.settings import check_settings
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


def check_fits(model: keras.Model, run_data: RunData, name: str) -> None:
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
    task_of(run_data, model)
    if not isinstance(run_data, SuperResolutionData):
        _check_classes(model, run_data.num_classes, where)
    if isinstance(run_data, SegmentationData):
        _check_map(model, run_data.image_shape, where)


def _check_input(model: keras.Model, run_data: RunData, where: str) -> None:
    inputs = getattr(model, "inputs", None)
    if not inputs:
        raise UsageError(
            f"{where} was saved before it was built, so its input's shape is not known: call it "
            "on a batch, or begin it with keras.Input, and save it again."
        )
    if len(inputs) > 1:
        raise UsageError(f"{where} has {len(inputs)} inputs, and the data has pictures alone.")
    given = tuple(epoch_of(run_data.train, 0).element_spec[0].shape)[1:]
    wanted = tuple(inputs[0].shape)[1:]
    if not _compatible(wanted, given):
        raise UsageError(
            f"{where} takes inputs of {_shown(wanted)}, and the data has {_shown(given)}"
            f"{_advice(wanted, given, run_data)}."
        )
    if not keras.backend.is_float_dtype(inputs[0].dtype):
        raise UsageError(
            f"{where} takes {inputs[0].dtype} inputs, and the data has standardised float32."
        )
    if isinstance(run_data, SuperResolutionData) and None not in wanted:
        sizes = {pair.low.shape[:2] for pair in run_data.test_pairs}
        if sizes != {wanted[:2]}:
            raise UsageError(
                f"{where} takes pictures of {_shown(wanted)} alone, and the held-out ones have "
                f"other sizes: build it with keras.Input((None, None, {wanted[2]}))."
            )


def _compatible(wanted: tuple, given: tuple) -> bool:
    return len(wanted) == len(given) and all(
        a is None or b is None or a == b for a, b in zip(wanted, given, strict=True)
    )


def _advice(wanted: tuple, given: tuple, run_data: RunData) -> str:
    """How the data could be brought to the network's size, where that is possible."""
    resizes = not isinstance(run_data, SuperResolutionData)
    if resizes and len(wanted) == 3 and wanted[2:] == given[2:] and wanted[0] == wanted[1]:
        return f" (--image_size={wanted[0]} resizes them)"
    return ""


def _check_classes(model: keras.Model, classes: int, where: str) -> None:
    channels = model.outputs[0].shape[-1]
    if channels != classes and not (channels == 1 and classes == 2):
        raise UsageError(f"{where} gives {channels} classes, and the data has {classes}.")


def _check_map(model: keras.Model, image_shape: tuple[int, int, int], where: str) -> None:
    given = tuple(model.outputs[0].shape)[1:3]
    if None in given:
        given = tuple(model.compute_output_shape((1, *image_shape)))[1:3]
    if given != tuple(image_shape[:2]):
        raise UsageError(
            f"{where} gives classes for {_shown(given)} pixels, and the data has them for "
            f"{_shown(tuple(image_shape[:2]))}."
        )


def _shown(shape: tuple) -> str:
    return "×".join("any" if size is None else str(size) for size in shape) or "no axis"
