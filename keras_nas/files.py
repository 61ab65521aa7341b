"""Writing files so that a reader finds the old content or the new, never a part.

Every writer works on a temporary file in the target's own folder, flushes it to
the disk and renames it over the target. A failure or a killed process leaves the
target as it was.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a temporary sibling of `path` that becomes `path` on success.

    The temporary path does not exist yet, has the same suffix as `path` (Keras
    chooses its format by it) and may be made a file or a folder. Missing parent
    folders are made. When the block ends, a file replaces `path` in one step; a
    folder replaces an existing folder, which is kept until the new one is in
    place. When the block raises, the temporary path is removed and `path` is
    left as it was.

    Example:

    ```python
    with atomic_path("run/small.keras") as temporary:
        model.save(temporary)
    ```

    Args:
        path: Where the finished file or folder shall stand.

    Yields:
        The temporary `Path` to write to.

    Raises:
        FileNotFoundError: The block ended without writing the temporary path.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f".{target.stem[:64]}.", suffix=".tmp", dir=target.parent
    ) as folder:
        temporary = Path(folder) / target.name
        yield temporary
        if not temporary.exists():
            raise FileNotFoundError(f"Nothing was written for `{target}`.")
        _flush(temporary)
        _replace(temporary, target)
    _flush_folder(target.parent)


def atomic_write_bytes(path: str | os.PathLike[str], content: bytes) -> Path:
    """Writes `content` to `path` in one step. Returns `path` as a `Path`."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return Path(path)


def atomic_write_text(path: str | os.PathLike[str], content: str) -> Path:
    """Writes `content` to `path` in UTF-8 in one step. Returns `path` as a `Path`.

    Newlines are written as they stand in `content`.
    """
    return atomic_write_bytes(path, content.encode("utf-8"))


def _flush(path: Path) -> None:
    if path.is_dir():
        for child in path.iterdir():
            _flush(child)
        _flush_folder(path)
    else:
        with open(path, "rb+") as file:
            os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(temporary: Path, target: Path) -> None:
    if not (temporary.is_dir() and target.is_dir() and not target.is_symlink()):
        os.replace(temporary, target)
        return
    previous = temporary.with_name(f"{target.name}.previous")
    os.rename(target, previous)
    try:
        os.rename(temporary, target)
    except OSError:
        os.rename(previous, target)
        raise
    shutil.rmtree(previous)
