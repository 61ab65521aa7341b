"""Debian's bazel builds every target and passes the smoke test, without a network.

Needs the Debian packages bazel-bootstrap, bazel-platforms, bazel-rules-java, bazel-rules-proto
and bazel-skylib. What a networked Bazel would fetch is stood in for by small repositories:
rules_python by Bazel's own rules, and each package of pypi by an empty library, because the
packages come from the interpreter's environment.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.source_tree import ROOT

DEBIAN_RULES = Path("/usr/share/bazel/rules")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("bazel") is None or not (DEBIAN_RULES / "java").is_dir(),
        reason="needs Debian's bazel-bootstrap, bazel-rules-java and bazel-rules-proto",
    ),
]

RULES_PYTHON = """
py_library = native.py_library
py_binary = native.py_binary
py_test = native.py_test
"""

RULES_CC = """
cc_library = native.cc_library
cc_binary = native.cc_binary
cc_test = native.cc_test
cc_import = native.cc_import
cc_toolchain = native.cc_toolchain
cc_toolchain_suite = native.cc_toolchain_suite
"""

COVERAGE_TOOLS = """
filegroup(name = "coverage_report_generator", visibility = ["//visibility:public"])
filegroup(name = "lcov_merger", visibility = ["//visibility:public"])
"""


def write_repository(folder: Path, files: dict[str, str]) -> Path:
    for name, text in {"WORKSPACE": "", "BUILD": "", **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def pypi_files() -> dict[str, str]:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    names = [re.split("==", line)[0] for line in lines if "==" in line]
    labels = [re.sub("[-.]", "_", name) for name in names]
    public = 'visibility = ["//visibility:public"]'
    return {f"{label}/BUILD": f'py_library(name = "{label}", {public})\n' for label in labels}


class Bazel:
    """Bazel on this checkout, with its output and its repositories in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        repositories = {
            "rules_java": DEBIAN_RULES / "java",
            "rules_proto": DEBIAN_RULES / "proto",
            "rules_cc": write_repository(
                folder / "rules_cc", {"cc/BUILD": "", "cc/defs.bzl": RULES_CC}
            ),
            "rules_python": write_repository(
                folder / "rules_python", {"python/BUILD": "", "python/defs.bzl": RULES_PYTHON}
            ),
            "remote_coverage_tools": write_repository(
                folder / "coverage", {"BUILD": COVERAGE_TOOLS}
            ),
            "pypi": write_repository(folder / "pypi", pypi_files()),
        }
        self.startup = [f"--output_user_root={folder / 'output'}", "--noworkspace_rc"]
        self.loading = [f"--override_repository={n}={path}" for n, path in repositories.items()]
        self.building = [
            "--incompatible_use_python_toolchains=false",
            f"--python_path={sys.executable}",
            "--symlink_prefix=/",
        ]

    def run(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        options = {"shutdown": [], "query": self.loading}.get(
            command, [*self.loading, *self.building]
        )
        return subprocess.run(
            ["bazel", *self.startup, command, *options, *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def bazel(tmp_path_factory: pytest.TempPathFactory):
    runner = Bazel(tmp_path_factory.mktemp("bazel"))
    yield runner
    runner.run("shutdown")


def test_everything_builds(bazel: Bazel) -> None:
    result = bazel.run("build", "//...")
    assert result.returncode == 0, result.stderr


def test_the_smoke_test_passes(bazel: Bazel) -> None:
    result = bazel.run("test", "--test_output=errors", "//tests:smoke")
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"//tests:test_smoke\s+PASSED", result.stdout)


def test_visibility_stops_an_import_against_the_order(bazel: Bazel) -> None:
    result = bazel.run("query", "visible(//keras_nas/layers:all, //keras_nas/...)")
    assert result.returncode == 0, result.stderr
    assert "//keras_nas:base" in result.stdout.split()
    assert "//keras_nas/graph:graph" not in result.stdout.split()
    assert "//keras_nas/search:search" not in result.stdout.split()
