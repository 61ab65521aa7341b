"""The command `keras-nas`, as `python -m apps` of a checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from apps import command
from tests.source_tree import ROOT, modules

PROGRAMS = {
    name.removeprefix("apps.")
    for name, module in modules().items()
    if name.startswith("apps.") and module.is_program
}


def run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "apps", *arguments],
        cwd=cwd, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def test_every_app_is_a_subcommand_with_one_line_of_what_it_does() -> None:
    found = command.apps()
    assert set(found) == PROGRAMS
    assert {"search", "export", "benchmark_android", "fetch_data", "report"} <= set(found)
    assert found["search"].startswith("Runs a search in a folder")
    assert all(len(what) > 20 for what in found.values())


@pytest.mark.parametrize("app", ["search", "fetch_data"])
def test_help_that_nobody_reads_to_its_end_is_no_error(app) -> None:
    """As of `--help | head`."""
    reads, writes = os.pipe()
    os.close(reads)
    with os.fdopen(writes, "w") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "apps", app, "--help"],
            cwd=ROOT, stdout=closed, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("arguments", [[], ["--help"], ["help"]], ids=["none", "flag", "word"])
def test_the_list_of_subcommands(arguments, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["keras-nas", *arguments])
    command.main()
    shown = capsys.readouterr().out
    for name, what in command.apps().items():
        assert f"  {name} " in shown
        assert what in shown


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("serach", "Error: There is no subcommand 'serach'. Did you mean 'search'?\n"),
        ("benchmark-andriod", "Error: There is no subcommand 'benchmark-andriod'. Did you mean "
         "'benchmark_android'?\n"),
        ("qqq", f"Error: There is no subcommand 'qqq'. There are {', '.join(command.apps())}.\n"),
    ],
)  # fmt: skip
def test_an_unknown_subcommand_names_the_nearest(name, said, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["keras-nas", name])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == said


def test_the_list_needs_no_tensorflow() -> None:
    code = (
        "import sys; sys.argv = ['keras-nas']; from apps.command import main; main();"
        "print(sorted({'tensorflow', 'keras', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("[]\n")


def test_a_subcommand_gets_its_flags_and_ends_as_the_app_does(tmp_path: Path) -> None:
    done = run("benchmark-android", "--thread=1", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == ("Error: Unknown command line flag 'thread'. Did you mean: threads ?\n")
    assert run("export", "--model=none.keras", cwd=tmp_path).returncode == 1
