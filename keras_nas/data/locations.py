"""Where data stands on this machine."""

from __future__ import annotations

import os
from pathlib import Path

ENVIRONMENT_VARIABLE = "KERAS_NAS_DATA"


def data_directory(data_dir: str | os.PathLike[str] | None = None) -> Path:
    """The folder that fetched data stands in.

    Args:
        data_dir: A folder, or None for `$KERAS_NAS_DATA`, or where that is not set
            `~/.cache/keras_nas`. It need not exist.
    """
    chosen = data_dir or os.environ.get(ENVIRONMENT_VARIABLE) or "~/.cache/keras_nas"
    return Path(chosen).expanduser()
