"""What README.md and docs/ tell people to type exists."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tomllib
from packaging.requirements import Requirement

from tests.source_tree import FILE_PARTS, PART_ORDER, ROOT, modules

RUNS = "<!-- runs -->"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
REGISTRIES = {
    "models.registry": "_BUILDERS",
    "data.registry": "_DATA_SETS",
    "importance.criteria": "_CRITERIA",
    "surgery.rules": "RULES",
}
"""Where the documents' blocks enter something, which must not stay for other tests."""
README = (ROOT / "README.md").read_text(encoding="utf-8")


def fenced(language: str, text: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_make_target_that_is_named_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    shell = "\n".join(fenced("sh", text))
    named = set(re.findall(r"`make ([a-z-]+)`", text)) | set(
        re.findall(r"^make ([a-z-]+)", shell, re.MULTILINE)
    )
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert named <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


def test_every_make_target_that_runs_a_module_finds_it() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"-m ((?:apps|tests)\.\w+)", makefile))
    assert named
    assert named <= modules().keys()
    for flagfile in re.findall(r"--flagfile=(\S+)", makefile):
        assert (ROOT / flagfile).is_file(), flagfile


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_module_that_is_run_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    named = set(re.findall(r"python -m ((?:apps|benchmarks|tests)\.\w+)", text))
    programs = (module.name for module in modules().values() if module.is_program)
    assert named <= {name.removesuffix(".__main__") for name in programs}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_that_is_named_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    named = re.findall(r"\b((?:apps|benchmarks|docs|export|keras_nas|tests)/[\w./-]*\w/?)", text)
    missing = {name for name in named if not (ROOT / name).exists() and "NAME" not in name}
    assert missing == set()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_to_a_file_leads_somewhere(path: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#\s]+)", path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_every_name_of_the_library_in_the_readme_exists() -> None:
    names: set[str] = set()
    for snippet in fenced("python", README):
        for node in ast.walk(ast.parse(snippet)):
            if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("kn."):
                names.add(ast.unparse(node))
    assert {"kn.gates.insert", "kn.surgery.build", "kn.search.dnal"} <= names
    code = "import keras_nas as kn\n" + "\n".join(sorted(names))
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def runnable(path: Path) -> list[str]:
    """The Python blocks below a line `<!-- runs -->`, in order."""
    text = path.read_text(encoding="utf-8")
    return re.findall(rf"^{RUNS}\n```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_mark_stands_above_a_python_block(path: Path) -> None:
    assert path.read_text(encoding="utf-8").count(RUNS) == len(runnable(path))


TRAIN_LONG = ("fit.md",)
"""The documents whose blocks train for a minute."""


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[pytest.mark.slow] if path.name in TRAIN_LONG else [])
        for path in DOCUMENTS
        if runnable(path)
    ],
    ids=lambda path: path.name,
)
def test_the_marked_blocks_of_a_document_run_from_top_to_bottom(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for part, name in REGISTRIES.items():
        module = importlib.import_module(f"keras_nas.{part}")
        monkeypatch.setattr(module, name, dict(getattr(module, name)))
    names: dict[str, object] = {"__name__": path.stem}
    for number, block in enumerate(runnable(path), start=1):
        exec(compile(block, f"{path.name}, block {number}", "exec"), names)  # noqa: S102


def test_every_document_has_its_place_in_the_navigation() -> None:
    listed = re.findall(r"^  - .*: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.M)
    assert sorted(listed) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))


def test_the_architecture_document_has_the_order_that_the_tests_hold() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([a-z_]+)(?:\.py|/)` \|", text, re.MULTILINE)
    assert tuple(listed) == PART_ORDER
    assert {name for name in listed if f"| `{name}.py`" in text} == FILE_PARTS


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    version = project["version"]
    module = (ROOT / "keras_nas" / "version.py").read_text(encoding="utf-8")
    assert f'"{version}"' in module
    assert f"version: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f'version = "{version}"' in (ROOT / "MODULE.bazel").read_text(encoding="utf-8")
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12"])
def test_the_lock_pins_every_direct_requirement(python: str) -> None:
    lock = pins_of("requirements.txt", python)
    wanted = pins_of("requirements.in", python)
    assert wanted.keys() <= lock.keys()
    assert all("==" in pin for pin in lock.values())
    exact = {name: pin for name, pin in wanted.items() if "==" in pin}
    assert {name: lock[name] for name in exact} == exact
    assert exact.keys() >= {"tensorflow", "keras"}
    assert ("tflite-support" in lock) == (python != "3.12")
    assert len(lock) > len(wanted)


def pins_of(file: str, python: str) -> dict[str, str]:
    """What a requirements file asks of a Python on Linux, by the distribution's name."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_python_implementation": "CPython",
    }
    asked = [each for each in found if each.marker is None or each.marker.evaluate(environment)]
    names = [each.name.lower().replace("_", "-") for each in asked]
    assert len(names) == len(set(names))
    return {name: str(each.specifier) for name, each in zip(names, asked, strict=True)}
