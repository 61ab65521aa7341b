"""What surrounds a search: where it writes, how it may be resumed, what it shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_nas.errors import UsageError
from keras_nas.settings import check_range

PROGRESS = ("auto", "bar", "lines", "off")


@dataclasses.dataclass(frozen=True)
class Session:
    """Where a search writes, and what it shows.

    Args:
        directory: The run folder, for `checkpoint/`, `metrics.jsonl` and `tensorboard/`. None
            writes nothing, and the search cannot be resumed.
        resume: Continue from the newest good checkpoint of each stage; a stage without one starts.
        overwrite: Start stages that have checkpoints again, and delete those.
        checkpoint_every: Steps between checkpoints; 0 saves at the end of each epoch alone.
        checkpoint_minutes: Minutes between checkpoints; 0 for none by time.
        fetch_every: Steps between two looks at the losses. Between them a GPU need not wait for
            Python; a step that is not finite is reported after as many steps at the latest.
        jit_compile: Compile the training step by XLA; on one device. Numbers differ by rounding.
        keep: Number of checkpoints of a stage that are kept.
        tensorboard: Write scalars and histograms for TensorBoard.
        progress: `"bar"`, `"lines"`, `"off"`, or `"auto"`: a bar on a terminal, else lines.
        settings: What decides the search's future, by flat name. A checkpoint made under other
            settings is refused, with the name of the first that differs.
    """

    directory: Path | None = None
    resume: bool = False
    overwrite: bool = False
    checkpoint_every: int = 0
    checkpoint_minutes: float = 0.0
    fetch_every: int = 10
    jit_compile: bool = False
    keep: int = 3
    tensorboard: bool = False
    progress: str = "auto"
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if self.progress not in PROGRESS:
            raise UsageError(
                f"`progress` must be one of {PROGRESS}. Received: progress={self.progress!r}"
            )
        if self.resume and self.overwrite:
            raise UsageError("`resume` and `overwrite` exclude each other. Received: both")
        if self.resume and self.directory is None:
            raise UsageError("`resume` needs the run's `directory`. Received: directory=None")
        check_range(self, ("keep", "fetch_every"), 1)
        check_range(self, ("checkpoint_every", "checkpoint_minutes"), 0)
        if self.directory is not None:
            object.__setattr__(self, "directory", Path(self.directory))
