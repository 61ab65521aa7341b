"""The fetch app from its command line: what it prints and how it ends."""

from __future__ import annotations

import pytest

from keras_nas.data import fashion_mnist
from tests.apps.commands import call_forked

APP = """
import pathlib
from apps import fetch_data
from keras_nas.data import fashion_mnist

def app():
    if "--data_dir=empty" in sys.argv:
        os.environ["PATH"] = ""
        fashion_mnist.SYSTEM_DIRECTORY = pathlib.Path("no")
    fetch_data.main()
"""
COMMANDS = (
    ("--task=fashion_mnist",),
    ("--task=mnist",),
    (),
    ("--task=super_resolution", "--data_dir=empty"),
)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], tuple[int, str, str]]:
    return call_forked(APP, COMMANDS, tmp_path_factory.mktemp("app"))


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
