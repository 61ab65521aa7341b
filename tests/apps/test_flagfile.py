"""Flagfiles by path and by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from apps import flagfile
from tests.source_tree import ROOT

DEMO = "apps/flagfiles/demo_dnal.cfg"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [
        [f"--flagfile={ROOT / DEMO}"],
        [f"--flagfile={DEMO}"],
        ["--flagfile=demo_dnal.cfg"],
        ["-flagfile=demo_dnal.cfg"],
        ["--flagfile", "demo_dnal.cfg"],
    ],
    ids=["path", "checkout", "name", "one_dash", "apart"],
)
def test_the_flags_stand_where_the_flagfile_did(arguments) -> None:
    found = flagfile.expand(["--seed=1", *arguments, "--seed=2", "more"])
    assert found[:2] == ["--seed=1", "--method=dnal"]
    assert found[-2:] == ["--seed=2", "more"]
    assert "--target_macs=0.39x" in found
    assert not any(line.startswith("#") or "flagfile" in line for line in found)


def test_a_flagfile_of_the_apps_is_built_on_others() -> None:
    found = flagfile.expand(["--flagfile=dso_cifar10_full.cfg"])
    assert "--method=dso" in found
    assert found[-1] == "--run_dir=runs/dso_cifar10_full"


def test_ones_own_flagfile_is_built_on_one_of_the_apps() -> None:
    Path("mine.cfg").write_text("# mine\n\n--flagfile=demo_dnal.cfg\n// more\n --seed=3\n")
    found = flagfile.expand(["--flagfile=mine.cfg"])
    assert found == [*flagfile.expand(["--flagfile=demo_dnal.cfg"]), "--seed=3"]


def test_a_file_of_the_present_folder_comes_first() -> None:
    Path("demo_dnal.cfg").write_text("--seed=4\n")
    assert flagfile.expand(["--flagfile=demo_dnal.cfg"]) == ["--seed=4"]


@pytest.mark.parametrize("arguments", [["--flagfile=none.cfg"], ["--flagfile="], ["--flagfile"]])
def test_what_is_found_nowhere_is_left_for_absl(arguments) -> None:
    assert flagfile.expand(arguments) == arguments


def test_a_file_that_names_itself_is_left_for_absl() -> None:
    Path("mine.cfg").write_text("--seed=3\n--flagfile=mine.cfg\n")
    assert flagfile.expand(["--flagfile=mine.cfg"]) == ["--seed=3", "--flagfile=mine.cfg"]


def test_what_stands_behind_two_dashes_is_no_flag() -> None:
    assert flagfile.expand(["--", "--flagfile=demo_dnal.cfg"]) == ["--", "--flagfile=demo_dnal.cfg"]
