"""Fetched data: where it stands on this machine, and the record of one thing that is ready."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

ENVIRONMENT_VARIABLE = "KERAS_NAS_DATA"


@dataclass(frozen=True)
class Fetched:
    """What stands where, and whence it came.

    Attributes:
        name: What it is, such as "Fashion-MNIST".
        path: The folder it stands in.
        source: Whence it came, such as "Debian package dataset-fashion-mnist".
        content: How much of what, such as "60,000 + 10,000 images".
    """

    name: str
    path: Path
    source: str
    content: str

    def __str__(self) -> str:
        return f"{self.name}: {self.content}, from {self.source}, in {self.path}"


def data_directory(data_dir: str | os.PathLike[str] | None = None) -> Path:
    """The folder that fetched data stands in.

    Args:
        data_dir: A folder, or None for `$KERAS_NAS_DATA`, or where that is not set
            `~/.cache/keras_nas`. It need not exist.
    """
    chosen = data_dir or os.environ.get(ENVIRONMENT_VARIABLE) or "~/.cache/keras_nas"
    return Path(chosen).expanduser()
