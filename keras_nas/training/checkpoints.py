"""Saving a stage so that it can go on as if it had never stopped."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_nas.errors import KerasNasError
from keras_nas.settings import check_settings
from keras_nas.training.hosts import numbers_of_hosts

_NONE = -1
_NAME = re.compile(r"ckpt-(\d+)")
# A torn file is an OpError or, from the reader alone, an IndexError or a ValueError; a checkpoint
# of other variables is an AssertionError or a ValueError.
_UNREADABLE = (tf.errors.OpError, ValueError, IndexError, AssertionError, RuntimeError)
_PROGRESS_KEY = "progress/.ATTRIBUTES/py_state"


class _JsonState(tf.train.experimental.PythonState):
    """A JSON-able value inside a checkpoint, written and read together with its tensors."""

    def __init__(self):
        self.value: dict[str, Any] = {}

    def serialize(self):
        return json.dumps(self.value)

    def deserialize(self, string_value):
        self.value = json.loads(string_value)


class Checkpoints:
    """The checkpoints of one stage, newest last, over `tf.train.CheckpointManager`.

    A checkpoint holds the stage's variables, its progress (a JSON-able mapping), the settings it
    was made under, and the states of Python's and NumPy's generators.

    Args:
        directory: The stage's folder.
        state: The variables, by group; each group in a fixed order.
        settings: What decides the future, by flat name.
        keep: Number of checkpoints that are kept.
    """

    def __init__(
        self,
        directory: Path,
        state: Mapping[str, Sequence[keras.Variable]],
        settings: Mapping[str, Any],
        keep: int,
    ):
        self.directory = directory
        self._settings = json.loads(json.dumps(dict(settings)))
        self._progress = _JsonState()
        groups = {name: [v.value for v in variables] for name, variables in state.items()}
        self._checkpoint = tf.train.Checkpoint(progress=self._progress, **groups)
        self._manager = tf.train.CheckpointManager(self._checkpoint, str(directory), keep)

    def save(self, step: int, progress: Mapping[str, Any]) -> str:
        """Writes a checkpoint. The ones before it stay if that fails.

        Args:
            step: The step of the stage, which numbers the checkpoint.
            progress: What the loop needs to go on from here.

        Returns:
            The checkpoint's path.

        Raises:
            KerasNasError: If it cannot be written (disk full, folder gone).
        """
        self._progress.value = {
            "progress": dict(progress),
            "settings": self._settings,
            "random": _random_state(),
        }
        try:
            return self._manager.save(checkpoint_number=step)
        except (tf.errors.OpError, OSError) as error:
            self._remove_leftovers()
            what = f"The checkpoint of step {step} could not be written to {self.directory}"
            raise self.not_written(what, error) from error

    def not_written(self, what: str, error: Exception) -> KerasNasError:
        """The error that says what could not be written, why, and which checkpoint is kept."""
        found = self.found()
        kept = f"{found[-1].name} is kept" if found else "there is no checkpoint before it"
        reason = getattr(error, "message", str(error)).splitlines()[0]
        return KerasNasError(
            f"{what} ({kept}): {reason}. Free some space and continue with `--resume`."
        )

    def restore(self, say) -> dict[str, Any] | None:
        """Reads the newest checkpoint that can be read, on every host, into the variables.

        Args:
            say: Called with a line of text for each checkpoint that had to be passed over.

        Returns:
            The progress it was saved with; None if the stage has no checkpoint.

        Raises:
            KerasNasError: If none of the checkpoints can be read, it was made under other settings,
                or the hosts have none in common.
        """
        saved = self._restore_newest(say, None)
        numbers = numbers_of_hosts(_NONE if saved is None else saved["number"])
        while min(numbers) != max(numbers):
            if min(numbers) == _NONE:
                raise KerasNasError(
                    f"The hosts have no checkpoint in common beside {self.directory} (by worker: "
                    f"{numbers}, {_NONE} for none). Start the stage again with `--overwrite`."
                )
            say(f"The hosts have checkpoints of the steps {numbers}: going back to the least.")
            saved = self._restore_newest(say, min(numbers))
            numbers = numbers_of_hosts(_NONE if saved is None else saved["number"])
        if saved is None:
            return None
        _set_random_state(saved["random"])
        return saved["progress"]

    def _restore_newest(self, say, limit: int | None) -> dict[str, Any] | None:
        """Restores the newest readable checkpoint of step `limit` at most; what it says."""
        found = [path for path in self.found() if limit is None or _number(path) <= limit]
        for path in reversed(found):
            try:
                reader = tf.train.load_checkpoint(str(path))
                saved = json.loads(reader.get_tensor(_PROGRESS_KEY))
                check_settings(saved["settings"], self._settings)
                self._checkpoint.restore(str(path)).assert_existing_objects_matched()
            except KerasNasError:
                raise
            except _UNREADABLE as error:
                say(
                    f"Checkpoint {path} cannot be read ({str(error).splitlines()[0]}): "
                    "falling back to the one before it."
                )
                continue
            return {**saved, "number": _number(path)}
        if found:
            raise KerasNasError(
                f"None of the {len(found)} checkpoints in {self.directory} can be read. "
                "Start the stage again with `--overwrite`."
            )
        return None

    def found(self) -> list[Path]:
        """The checkpoints on disk, oldest first, whatever the manager's own list says."""
        paths = [index.with_suffix("") for index in self.directory.glob("ckpt-*.index")]
        return sorted((path for path in paths if _NAME.fullmatch(path.name)), key=_number)

    def _remove_leftovers(self) -> None:
        for folder in self.directory.glob("ckpt-*_temp"):
            shutil.rmtree(folder, ignore_errors=True)


def _number(path: Path) -> int:
    return int(path.name.removeprefix("ckpt-"))


def clear(directory: Path) -> None:
    """Deletes a stage's checkpoints."""
    if directory.exists():
        shutil.rmtree(directory)


def _random_state() -> dict[str, Any]:
    name, keys, position, has_gauss, cached = np.random.get_state()
    version, internal, gauss = random.getstate()
    return {
        "numpy": [name, np.asarray(keys).tolist(), position, has_gauss, cached],
        "python": [version, list(internal), gauss],
    }


def _set_random_state(state: Mapping[str, Any]) -> None:
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, np.asarray(keys, "uint32"), position, has_gauss, cached))
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
