"""Apps as commands: each in a process of its own, or all forked of one that has imported them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.source_tree import ROOT

IMPORTS = """
import json, os, sys
from apps import main
"""
FORKS = """
def fork(number, arguments):
    if os.fork():
        return os.wait()[1]
    for stream, name in ((sys.stdout, "out"), (sys.stderr, "err")):
        os.dup2(os.open(f"{number}.{name}", os.O_WRONLY | os.O_CREAT), stream.fileno())
    sys.argv = [sys.argv[0], *arguments]
    main.run(app)

if __name__ == "__main__":
    for number, arguments in enumerate(json.loads(sys.argv[1])):
        print(os.waitstatus_to_exitcode(fork(number, arguments)), flush=True)
"""


def call(app: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """What `python -m apps.{app}` ended with."""
    return subprocess.run(
        [sys.executable, "-m", f"apps.{app}", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "COLUMNS": "100"},
    )


def call_forked(
    code: str, commands: Sequence[Sequence[str]], folder: Path
) -> dict[tuple[str, ...], tuple[int, str, str]]:
    """The exit code, stdout and stderr of each command, by its arguments.

    One process imports what `code` does and forks for each, which saves seconds a command.

    Args:
        code: Defines the app's function `app`.
        commands: The arguments of each.
        folder: The commands run in it.
    """
    (folder / "app.py").write_text(IMPORTS + code + FORKS)
    process = subprocess.run(
        [sys.executable, "app.py", json.dumps(commands)],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return {
        tuple(arguments): (
            int(code),
            (folder / f"{number}.out").read_text(),
            (folder / f"{number}.err").read_text(),
        )
        for number, (arguments, code) in enumerate(
            zip(commands, process.stdout.split(), strict=True)
        )
    }
