"""Flagfiles by path, or by the name of one that comes with the apps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).parent / "flagfiles"
_CHECKOUT = ("apps", "flagfiles")
"""Where `FOLDER` stands in a checkout, and how files and documents spell it."""


def expand(arguments: Sequence[str], within: tuple[Path, ...] = ()) -> list[str]:
    """The arguments with each `--flagfile` replaced by the flags in it.

    A path that leads nowhere is looked up among the files that come with the apps: `demo_dnal.cfg`
    and `apps/flagfiles/demo_dnal.cfg` are found from any folder, and where keras_nas is installed.
    What is found nowhere, and a file that names itself, is left for absl to refuse.

    Args:
        arguments: The command's, without the program's name.
        within: The files that these arguments are read from.
    """
    expanded: list[str] = []
    rest = list(arguments)
    while rest and rest[0] != "--":
        argument = rest.pop(0)
        flag, is_one, name = argument.partition("=")
        if flag in ("--flagfile", "-flagfile") and not is_one and rest:
            name = rest.pop(0)
        path = find(name) if flag in ("--flagfile", "-flagfile") and name else None
        if path is None or path in within:
            expanded += [argument] if is_one or not name else [f"{flag}={name}"]
        else:
            expanded += expand(_flags_in(path), (*within, path))
    return expanded + rest


def find(name: str) -> Path | None:
    """The flagfile that a name stands for; None where there is none."""
    path = Path(name).expanduser()
    if path.is_file():
        return path.resolve()
    parts = path.parts[2:] if path.parts[:2] == _CHECKOUT else path.parts
    path = FOLDER.joinpath(*parts)
    return path if path.is_file() else None


def _flags_in(path: Path) -> list[str]:
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line and not line.startswith(("#", "//"))]
