"""Python environments of their own for clients that cannot live beside TensorFlow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def environment(folder: Path, *requirements: str) -> Path:
    """Returns the interpreter of a virtual environment with `requirements`, made if need be.

    A folder is used again once its installation was finished.
    """
    python = folder / "bin" / "python"
    finished = folder / "finished.txt"
    wanted = "\n".join(requirements)
    if not finished.exists() or finished.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=True)
        finished.write_text(wanted)
    return python


def run_in(python: Path, script: Path, *arguments: object) -> str:
    """Runs a program in an environment, without this one's modules, and returns its output."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "KERAS"))}
    process = subprocess.run(
        [python, script, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=variables,
        cwd=script.parent,
        timeout=300,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-2000:]
    return process.stdout
