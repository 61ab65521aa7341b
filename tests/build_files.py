"""Derives Bazel's BUILD files from the imports.

`python -m tests.build_files --write` writes them; without `--write` the stale ones are named.
tests/test_build_files.py compares, so that BUILD never drifts from the code.

One target stands for: a part of keras_nas (a folder, or a file beside `__init__.py`), all of
export, a file of apps, benchmarks and tests. Visibility lets a part be used by what may import
it and by nothing else.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from tests.source_tree import (
    FILE_PARTS,
    FIRST_PARTY,
    PART_ORDER,
    ROOT,
    Module,
    first_party_imports,
    modules,
    part_of,
    third_party_imports,
)

HEADER = '"""Made from the imports by `python -m tests.build_files --write`."""\n'
CONSUMERS = ("//apps:__subpackages__", "//benchmarks:__subpackages__", "//tests:__subpackages__")
RUNNER = "tests.bazel_main"
SMOKE = "tests.test_smoke"
FLAGFILES = "//apps:flagfiles"

# Tests of the checkout itself; they need files that no target holds.
CHECKOUT_TESTS = frozenset(
    f"tests.test_{name}" for name in ("bazel", "build_files", "documentation", "imports")
)


@dataclass
class Target:
    """One rule in a BUILD file.

    Attributes:
        folder: the Bazel package, relative to the checkout.
        name: the rule's name in it.
        rule: py_library, py_binary or py_test.
        modules: the modules whose files are its sources.
        attributes: every attribute but name, srcs, visibility and deps, as BUILD writes it.
    """

    folder: str
    name: str
    rule: str
    modules: list[Module]
    attributes: dict[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"//{self.folder}:{self.name}"


def label_of(name: str) -> str:
    """The label of the target that holds the module `name`."""
    pieces = name.split(".")
    part = part_of(name)
    if part is not None:
        return f"//keras_nas:{part}" if part in FILE_PARTS else f"//keras_nas/{part}:{part}"
    if pieces[0] in {"keras_nas", "export"}:
        return f"//{pieces[0]}:{pieces[0]}"
    if modules()[name].path.name == "__init__.py":
        return f"//{'/'.join(pieces)}:{pieces[-1]}"
    return f"//{'/'.join(pieces[:-1])}:{pieces[-1]}"


def build_files() -> dict[str, str]:
    """The text of every BUILD file by its path in the checkout."""
    by_folder: dict[str, list[Target]] = defaultdict(list)
    for target in _targets():
        by_folder[target.folder].append(target)
    written = {f"{folder}/BUILD": _render(folder, targets) for folder, targets in by_folder.items()}
    return {"BUILD": _TOP, **written}


def stale_files() -> list[str]:
    """BUILD files that differ from what the imports ask for, or that nothing asks for."""
    expected = build_files()
    nested = [path for top in FIRST_PARTY for path in (ROOT / top).rglob("BUILD")]
    present = {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for path in [ROOT / "BUILD", *nested]
        if path.exists()
    }
    paths = expected.keys() | present.keys()
    return sorted(path for path in paths if expected.get(path) != present.get(path))


def _targets() -> list[Target]:
    members: dict[str, list[Module]] = defaultdict(list)
    for module in modules().values():
        if module.name not in CHECKOUT_TESTS:
            members[label_of(module.name)].append(module)
    return [_target(label, members[label]) for label in sorted(members)]


def _target(label: str, members: list[Module]) -> Target:
    folder, name = label.removeprefix("//").split(":")
    target = Target(folder, name, "py_library", members)
    top = folder.split("/")[0]
    if top == "tests" and name.startswith("test_"):
        _make_test(target)
    elif top in {"apps", "benchmarks"} and members[0].is_program:
        target.rule = "py_binary"
        if top == "apps":
            target.attributes["data"] = _value([":flagfiles"])
    elif folder != "keras_nas" and top in {"keras_nas", "export"}:
        target.attributes["data"] = _value(_files_beside(folder))
    return target


def _make_test(target: Target) -> None:
    test, runner = target.modules[0], modules()[RUNNER]
    target.rule = "py_test"
    target.modules = [test, runner]
    target.attributes["data"] = _value([FLAGFILES, "//:pyproject.toml"])
    fixtures = _fixture_folders(target.folder)
    if fixtures:
        target.attributes["data"] += f" + glob({_value([f'{name}/**' for name in fixtures])})"
    target.attributes["args"] = _value([test.relative_path])
    target.attributes["main"] = _value(_source_label(runner, target.folder))


def _fixture_folders(folder: str) -> list[str]:
    """Folders beside the tests that hold no Python: recorded logs, little data sets."""
    return sorted(
        path.name
        for path in (ROOT / folder).iterdir()
        if path.is_dir() and path.name != "__pycache__" and not any(path.rglob("*.py"))
        if any(child.is_file() for child in path.rglob("*"))
    )


def _files_beside(folder: str) -> list[str]:
    """What stands beside the sources and is read at run time: schemas, templates."""
    return sorted(
        path.relative_to(ROOT / folder).as_posix()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc"} and path.name != "BUILD"
    )


def _visibility(label: str) -> list[str]:
    folder, name = label.removeprefix("//").split(":")
    top = folder.split("/")[0]
    if top == "apps":
        return ["//benchmarks:__subpackages__", "//tests:__subpackages__"]
    if top in {"benchmarks", "tests"}:
        return ["//tests:__subpackages__"]
    if top == "export":
        return list(CONSUMERS)
    if name == "keras_nas":
        return [*CONSUMERS, "//:__pkg__"]
    later = PART_ORDER[PART_ORDER.index(name) + 1 :]
    parts = [f"//keras_nas/{part}:__pkg__" for part in later if part not in FILE_PARTS]
    exports = [] if name == "search" else ["//export:__subpackages__"]
    return sorted([*CONSUMERS, *exports, *parts, "//keras_nas:__pkg__"])


def _dependencies(target: Target) -> list[str]:
    found: set[str] = set()
    for module in target.modules:
        found |= {label_of(name) for name in first_party_imports(module)}
        found |= {f"@pypi//{name.replace('-', '_')}" for name in third_party_imports(module)}
    if target.rule == "py_test":
        found |= {label_of(name) for name in _conftests(target.folder)}
    if target.label == "//keras_nas:keras_nas":
        found |= {label_of(name) for name in modules() if part_of(name) is not None}
    found.discard(target.label)
    order = {":": 0, "/": 1, "@": 2}
    shortened = (_shorten(label, target.folder) for label in found)
    return sorted(shortened, key=lambda label: (order[label[0]], label))


def _conftests(folder: str) -> list[str]:
    pieces = folder.split("/")
    names = [".".join([*pieces[:end], "conftest"]) for end in range(1, len(pieces) + 1)]
    return [name for name in names if name in modules()]


def _source_label(module: Module, folder: str) -> str:
    path = Path(module.relative_path)
    if path.is_relative_to(folder):
        return path.relative_to(folder).as_posix()
    return f"//{path.parent.as_posix()}:{path.name}"


def _shorten(label: str, folder: str) -> str:
    package, _, name = label.partition(":")
    if package == f"//{folder}":
        return f":{name}"
    return package if package.rsplit("/", 1)[-1] == name else label


def _render(folder: str, targets: list[Target]) -> str:
    rules = ", ".join(f'"{rule}"' for rule in sorted({target.rule for target in targets}))
    blocks = [f'{HEADER}\nload("@rules_python//python:defs.bzl", {rules})\n']
    if folder == "apps":
        blocks.append(_FLAGFILES)
    if folder == "tests":
        blocks.append(f'exports_files(["{modules()[RUNNER].path.name}"])\n')
    blocks += [_render_target(target) for target in targets]
    if any(module.name == SMOKE for target in targets for module in target.modules):
        blocks.append(_SMOKE)
    return "\n".join(blocks)


def _render_target(target: Target) -> str:
    attributes = {
        "name": _value(target.name),
        "srcs": _value(sorted(_source_label(module, target.folder) for module in target.modules)),
        **target.attributes,
        "visibility": _value(_visibility(target.label)),
        "deps": _value(_dependencies(target)),
    }
    lines = [f"    {name} = {value},\n" for name, value in attributes.items() if value != "[]"]
    return f"{target.rule}(\n{''.join(lines)})\n"


def _value(value: str | list[str]) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    if len(value) < 2:
        return "[" + "".join(f'"{item}"' for item in value) + "]"
    return "[\n" + "".join(f'        "{item}",\n' for item in value) + "    ]"


_TOP = f"""{HEADER}
exports_files([
    "pyproject.toml",
    "requirements.txt",
])

alias(
    name = "keras_nas",
    actual = "//keras_nas",
    visibility = ["//visibility:public"],
)
"""

_FLAGFILES = """filegroup(
    name = "flagfiles",
    srcs = glob(["flagfiles/**"]),
    visibility = ["//tests:__subpackages__"],
)
"""

_SMOKE = """test_suite(
    name = "smoke",
    tests = [":test_smoke"],
)
"""


def main() -> int:
    parser = argparse.ArgumentParser(description="BUILD files made from the imports.")
    parser.add_argument("--write", action="store_true", help="write them")
    write = parser.parse_args().write
    expected, stale = build_files(), stale_files()
    for path in stale:
        if write and path in expected:
            (ROOT / path).write_text(expected[path], encoding="utf-8")
        elif write:
            (ROOT / path).unlink()
        done = "wrote" if path in expected else "removed"
        print(f"{done if write else 'stale'}: {path}")
    return 1 if stale and not write else 0


if __name__ == "__main__":
    sys.exit(main())
