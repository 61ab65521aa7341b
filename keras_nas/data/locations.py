"""Where data stands on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from keras_nas.errors import KerasNasError

ENVIRONMENT_VARIABLE = "KERAS_NAS_DATA"


def data_directory(data_dir: str | os.PathLike[str] | None = None) -> Path:
    """The folder that fetched data stands in.

    Args:
        data_dir: a folder, or None for `$KERAS_NAS_DATA`, or where that is not set
            `~/.cache/keras_nas`. It need not exist.
    """
    chosen = data_dir or os.environ.get(ENVIRONMENT_VARIABLE) or "~/.cache/keras_nas"
    return Path(chosen).expanduser()


def check_data_directory(data_dir: str | os.PathLike[str] | None) -> None:
    """Raises `KerasNasError` for a `data_dir` that is given and is no folder."""
    if data_dir and not Path(data_dir).expanduser().is_dir():
        raise KerasNasError(
            f"`data_dir` must be the folder that holds the data. Received: {data_dir}, which "
            + ("is a file" if Path(data_dir).expanduser().exists() else "does not exist")
        )
