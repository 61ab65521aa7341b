"""What surrounds a search: where it writes, how it may be resumed, what it shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_nas.errors import UsageError
from keras_nas.settings import NOTHING, check_choices, check_range, setting

PROGRESS = ("auto", "bar", "lines", "off")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SessionSettings:
    """How a search is resumed, saved and shown. Every field's meaning stands in its help text."""

    resume: bool = setting(False, "Go on from the newest good checkpoints.", decides=NOTHING)
    overwrite: bool = setting(False, "Start stages that have checkpoints again.", decides=NOTHING)
    checkpoint_every: int = setting(
        0, "Steps between checkpoints; 0 for one an epoch.", decides=NOTHING
    )
    checkpoint_minutes: float = setting(
        0.0, "Minutes between checkpoints; 0 for none by time.", decides=NOTHING
    )
    fetch_every: int = setting(
        10,
        "Steps between two looks at the losses, for which a GPU waits. A step that is not finite "
        "is reported after as many steps at the latest.",
        decides=NOTHING,
    )
    jit_compile: bool = setting(
        False, "Compile the training steps by XLA, on one device; numbers differ by rounding."
    )
    keep: int = setting(3, "Checkpoints of a stage that are kept.", decides=NOTHING)
    tensorboard: bool = setting(False, "Write TensorBoard's events.", decides=NOTHING)
    progress: str = setting("auto", "How progress is shown.", PROGRESS, decides=NOTHING)

    def __post_init__(self):
        check_choices(self)
        check_range(self, ("keep", "fetch_every"), 1)
        check_range(self, ("checkpoint_every", "checkpoint_minutes"), 0)
        if self.resume and self.overwrite:
            raise UsageError("`resume` and `overwrite` exclude each other. Received: both")


@dataclasses.dataclass(frozen=True)
class Session(SessionSettings):
    """Where a search writes, and what it shows.

    Args:
        directory: The run folder, for `checkpoint/`, `metrics.jsonl` and `tensorboard/`. None
            writes nothing, and the search cannot be resumed.
        settings: What decides the search's future, by flat name. A checkpoint made under other
            settings is refused, with the name of the first that differs.
        **options: The fields of `SessionSettings`, such as `resume=True` or `progress="off"`.
    """

    directory: Path | None = None
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict, kw_only=True)

    def __post_init__(self):
        super().__post_init__()
        if self.resume and self.directory is None:
            raise UsageError("`resume` needs the run's `directory`. Received: directory=None")
        if self.directory is not None:
            object.__setattr__(self, "directory", Path(self.directory))
