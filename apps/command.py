"""The command `keras-nas`, with a subcommand for each app."""

from __future__ import annotations

import ast
import difflib
import runpy
import sys
from pathlib import Path

from keras_nas.version import __version__


def main() -> None:
    """Runs the app that the first argument names, or lists them all.

    The exit code is the app's; 0 after the list, 2 for a name that no app has.
    """
    name, *arguments = sys.argv[1:] or ["--help"]
    found = apps()
    if name in ("--help", "-h", "help"):
        print(_list_text(found))
    elif name == "--version":
        print(f"keras_nas {__version__}")
    elif name.replace("-", "_") in found:
        sys.argv = [sys.argv[0], *arguments]
        runpy.run_module(
            f"{__package__}.{name.replace('-', '_')}", run_name="__main__", alter_sys=True
        )
    else:
        near = difflib.get_close_matches(name.replace("-", "_"), found, 1)
        meant = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(found)}."
        print(f"Error: There is no subcommand {name!r}. {meant}", file=sys.stderr)
        sys.exit(2)


def apps() -> dict[str, str]:
    """What each app does, by its name: the first line of its docstring."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        if '\nif __name__ == "__main__":' in text:
            found[path.stem] = (ast.get_docstring(ast.parse(text)) or "").split("\n")[0]
    return found


def _list_text(found: dict[str, str]) -> str:
    width = max(map(len, found))
    lines = [f"  {name:{width}}  {what}" for name, what in found.items()]
    return "\n".join(
        [
            "keras_nas learns which channels, operations and connections a network needs.",
            "",
            *lines,
            "",
            "Each lists its flags: keras-nas SUBCOMMAND --help",
        ]
    )
