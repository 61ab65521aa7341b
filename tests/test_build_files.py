"""The BUILD files hold every module and what it imports, and let no part use a later one.

They are run as Python, with rules that note what they are given: Starlark's syntax is Python's. The
slow tests give them to Debian's bazel, without a network (packages bazel-bootstrap,
bazel-platforms, bazel-rules-java, bazel-rules-proto and bazel-skylib): what a networked Bazel would
fetch is stood in for by small repositories, rules_python by Bazel's own rules, and each package of
pypi by an empty library, because the packages come from the interpreter's environment.
"""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
from functools import cache, partial
from pathlib import Path

import pytest

from tests.source_tree import (
    FILE_PARTS,
    FIRST_PARTY,
    PART_ORDER,
    ROOT,
    direct_requirements,
    first_party_imports,
    modules,
    third_party_imports,
)

RULES = ("filegroup", "package_group", "py_binary", "py_library", "py_test", "test_suite")
CHECKOUT_TESTS = {
    f"tests.test_{name}" for name in ("build_files", "documentation", "imports", "packaging")
}
PYPI = {f"@pypi//{name.replace('-', '_')}" for name in direct_requirements()}
PARTS = [part for part in PART_ORDER if part not in FILE_PARTS]


@cache
def rules() -> dict[str, dict]:
    """Every rule of the BUILD files by its label: its kind and its attributes."""
    found: dict[str, dict] = {}
    for folder in sorted(
        path.parent for top in FIRST_PARTY for path in (ROOT / top).rglob("BUILD")
    ):
        package = folder.relative_to(ROOT).as_posix()
        names = {kind: partial(note, found, package, kind) for kind in RULES}
        names |= {"glob": partial(glob, folder), "exports_files": list, "load": lambda *_: None}
        runpy.run_path(str(folder / "BUILD"), names)
    return found


def note(found: dict[str, dict], package: str, kind: str, *, name: str, **attributes) -> None:
    label = f"//{package}:{name}"
    assert label not in found, label
    found[label] = {"kind": kind, "package": package, **attributes}


def glob(folder: Path, include: list[str], exclude=(), allow_empty=False) -> list[str]:
    def matched(patterns: list[str]) -> set[str]:
        text = "|".join(re.escape(pattern) for pattern in patterns)
        text = text.replace(r"\*\*/", "(?:.*/)?").replace(r"\*\*", ".*").replace(r"\*", "[^/]*")
        return {name for name in files if re.fullmatch(text, name)}

    inner = [path.parent for path in folder.rglob("BUILD") if path.parent != folder]
    files = [
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not any(path.is_relative_to(package) for package in inner)
    ]
    found = sorted(matched(include) - matched(exclude))
    assert found or allow_empty, (folder, include)
    return found


def absolute(label: str, package: str) -> str:
    if label.startswith("@"):
        return label
    if not label.startswith("//"):
        return f"//{package}:{label.removeprefix(':')}"
    return label if ":" in label else f"{label}:{label.rsplit('/', 1)[-1]}"


def dependencies(label: str) -> set[str]:
    return {absolute(name, rules()[label]["package"]) for name in rules()[label].get("deps", ())}


def reached(label: str) -> set[str]:
    found, waiting = set(), {label}
    while waiting:
        found |= waiting
        waiting = {d for name in waiting & rules().keys() for d in dependencies(name)} - found
    return found


@cache
def holders() -> dict[str, list[str]]:
    """The labels of the rules that hold each file, by its path in the checkout."""
    found: dict[str, list[str]] = {}
    for label, rule in rules().items():
        for source in rule.get("srcs", ()):
            path = absolute(source, rule["package"]).removeprefix("//").replace(":", "/")
            found.setdefault(path, []).append(label)
    return found


def test_every_module_is_held_by_a_rule_of_its_kind() -> None:
    for module in modules().values():
        if module.name in CHECKOUT_TESTS:
            continue
        kinds = {rules()[label]["kind"] for label in holders().get(module.relative_path, ())}
        wanted = "py_test" if module.path.name.startswith("test_") else "py_library"
        assert wanted in kinds, f"no {wanted} holds {module.relative_path}"
        if module.is_program and module.relative_path.startswith(("apps", "benchmarks")):
            assert "py_binary" in kinds or module.name == "apps.main", module.relative_path


def test_every_rule_depends_on_what_its_modules_import() -> None:
    """Libraries of keras_nas and export name it; elsewhere it may come with another dependency."""
    for module in modules().values():
        for label in holders().get(module.relative_path, ()):
            direct = label.startswith(("//keras_nas", "//export"))
            seen = {label, *dependencies(label)} if direct else reached(label)
            for name in first_party_imports(module):
                wanted = holders()[modules()[name].relative_path]
                assert seen & set(wanted), f"{label}: {module.name} needs one of {wanted}"
            for name in third_party_imports(module):
                wanted = f"@pypi//{name.replace('-', '_')}"
                assert wanted in seen, f"{label}: {module.name} needs {wanted}"


def test_every_dependency_exists_and_may_be_used() -> None:
    for label, rule in rules().items():
        for name in dependencies(label):
            assert name in PYPI or name in rules(), f"{label} needs {name}"
            assert name in PYPI or sees(rule["package"], name), f"{label} may not use {name}"


def sees(package: str, label: str) -> bool:
    rule = rules()[label]
    return package == rule["package"] or any(
        admits(absolute(entry, rule["package"]), package) for entry in rule["visibility"]
    )


def admits(entry: str, package: str) -> bool:
    if entry in rules():
        group = rules()[entry]
        names = [absolute(name, group["package"]) for name in group.get("includes", ())]
        return any(admits(name, package) for name in [*group["packages"], *names])
    entry = entry.replace(":__subpackages__", "/...").removesuffix(":__pkg__").removeprefix("//")
    inside = entry.endswith("/...") and package.startswith(entry.removesuffix("..."))
    return inside or package == entry.removesuffix("/...")


def test_a_part_is_seen_from_the_parts_after_it_alone() -> None:
    for place, part in enumerate(PARTS):
        seeing = [name for name in PARTS if sees(f"keras_nas/{name}", f"//keras_nas/{part}:{part}")]
        assert set(seeing) == set(PARTS[place:])


def test_export_sees_nothing_of_training_and_search() -> None:
    seen = [part for part in PARTS if sees("export", f"//keras_nas/{part}:{part}")]
    assert seen == PARTS[: PARTS.index("training")]


DEBIAN_RULES = Path("/usr/share/bazel/rules")

needs_bazel = pytest.mark.skipif(
    shutil.which("bazel") is None or not (DEBIAN_RULES / "java").is_dir(),
    reason="needs Debian's bazel-bootstrap, bazel-rules-java and bazel-rules-proto",
)

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


@needs_bazel
@pytest.mark.slow
def test_everything_builds(bazel: Bazel) -> None:
    result = bazel.run("build", "//...")
    assert result.returncode == 0, result.stderr


@needs_bazel
@pytest.mark.slow
def test_the_smoke_test_passes(bazel: Bazel) -> None:
    result = bazel.run("test", "--test_output=errors", "//tests:smoke")
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"//tests:test_smoke\s+PASSED", result.stdout)


@needs_bazel
@pytest.mark.slow
def test_visibility_stops_an_import_against_the_order(bazel: Bazel) -> None:
    result = bazel.run("query", "visible(//keras_nas/layers:all, //keras_nas/...)")
    assert result.returncode == 0, result.stderr
    assert "//keras_nas:base" in result.stdout.split()
    assert "//keras_nas/graph:graph" not in result.stdout.split()
    assert "//keras_nas/search:search" not in result.stdout.split()
