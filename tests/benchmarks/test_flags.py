"""Benchmarks can be imported side by side, and refuse names that they do not know."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import pytest
from absl import flags

import benchmarks


def test_importing_a_benchmark_defines_no_flag():
    for module in pkgutil.iter_modules(benchmarks.__path__, "benchmarks."):
        importlib.import_module(module.name)
    owners = flags.FLAGS.flags_by_module_dict()
    assert [name for name in owners if name.startswith("benchmarks")] == []


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("pruned_speed", ["--networks=small_resnet,densenet"]),
        ("budgets_met", ["--budgets=seconds"]),
        ("rivals", ["--networks=densenet"]),
    ],
)
def test_an_unknown_name_ends_before_any_work(program, arguments, tmp_path):
    folder = tmp_path / "runs"
    command = [sys.executable, "-m", f"benchmarks.{program}", *arguments, f"--folder={folder}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert "must be of [" in last
    assert last.endswith(("Received: 'densenet'", "Received: 'seconds'"))
    assert not list(folder.glob("*"))
