"""The fetch app from its command line: what it prints and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from keras_nas.data import fashion_mnist

ROOT = Path(__file__).parents[2]
DRIVER = """
import json, os, pathlib, sys
from apps import fetch_data
from apps.main import run
from keras_nas.data import fashion_mnist

def fetch_forked(number, arguments):
    if os.fork():
        return os.wait()[1]
    for stream, name in ((sys.stdout, "out"), (sys.stderr, "err")):
        os.dup2(os.open(f"{number}.{name}", os.O_WRONLY | os.O_CREAT), stream.fileno())
    if "--data_dir=empty" in arguments:
        os.environ["PATH"] = ""
        fashion_mnist.SYSTEM_DIRECTORY = pathlib.Path("no")
    sys.argv = ["fetch_data", *arguments]
    run(fetch_data.main)

for number, arguments in enumerate(json.loads(sys.argv[1])):
    print(json.dumps(os.waitstatus_to_exitcode(fetch_forked(number, arguments))), flush=True)
"""
COMMANDS = (
    ("--task=fashion_mnist",),
    ("--task=mnist",),
    (),
    ("--task=super_resolution", "--data_dir=empty"),
)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], tuple[int, str, str]]:
    """What (code, stdout, stderr) the app ended with, by its arguments; one process forks."""
    folder = tmp_path_factory.mktemp("app")
    process = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(COMMANDS)],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    codes = [int(line) for line in process.stdout.split()]
    return {
        arguments: (
            code,
            (folder / f"{number}.out").read_text(),
            (folder / f"{number}.err").read_text(),
        )
        for number, (arguments, code) in enumerate(zip(COMMANDS, codes, strict=True))
    }


def test_it_says_what_stands_where(ended: dict) -> None:
    folder = fashion_mnist.find()
    assert ended["--task=fashion_mnist",] == (
        0,
        f"Fashion-MNIST: 60,000 + 10,000 images, from this machine, in {folder}\n",
        "",
    )


def test_an_unknown_or_absent_task_is_a_wrong_command(ended: dict) -> None:
    for arguments in (("--task=mnist",), ()):
        code, out, err = ended[arguments]
        assert (code, out) == (2, "")
        assert err.startswith("Error: flag --task=")
        assert err.count("\n") == 1


def test_what_cannot_be_had_is_one_line(ended: dict) -> None:
    code, out, err = ended["--task=super_resolution", "--data_dir=empty"]
    assert (code, out) == (1, "")
    assert err.startswith("Error: The photographs cannot be fetched: Debian package `lomiri")
    assert "`apt-get`, which is not here" in err
    assert err.count("\n") == 1
