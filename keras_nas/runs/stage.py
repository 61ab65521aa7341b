"""A stage of a run: what it reads, what it writes, what it does."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from pathlib import Path

from keras_nas.runs.folder import RunFolder
from keras_nas.runs.workbench import Workbench


class RunStage(abc.ABC):
    """One stage of a run, which meets the others in the run's files.

    Attributes:
        name: As in `RunConfig.stages`.
    """

    name: str

    def reads(self, folder: RunFolder) -> tuple[Path, ...]:
        """The files that stages before it write and that it needs."""
        return ()

    def writes(self, folder: RunFolder) -> tuple[Path, ...]:
        """The files that stages after it read."""
        return ()

    def prepare(self, bench: Workbench) -> None:  # noqa: B027
        """Finds out what can be known to go wrong, before any stage; writes nothing.

        Raises:
            KerasNasError: The settings ask for what the data or the network cannot give.
        """

    @abc.abstractmethod
    def run(self, bench: Workbench) -> None:
        """Does the stage, and puts what came out into results.json."""


def check_files(stages: Sequence[RunStage], asked: Sequence[str], folder: RunFolder) -> None:
    """Finds out whether each stage will find what the stages before it write.

    Args:
        stages: All stages, in order.
        asked: The names of those that run.
        folder: The run's folder.

    Raises:
        KerasNasError: A file is not there, and the stage that writes it does not run.
    """
    writer: dict[Path, str] = {}
    for stage in stages:
        for path in stage.reads(folder) if stage.name in asked else ():
            if writer[path] not in asked:
                folder.require(path, writer[path])
        writer |= dict.fromkeys(stage.writes(folder), stage.name)
