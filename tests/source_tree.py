"""Reads what every module of the checkout imports, without running any of it."""

from __future__ import annotations

import ast
import functools
import re
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FIRST_PARTY = ("keras_nas", "export", "apps", "benchmarks", "tests")

# Programs that tests start in an environment of its own; they use what is installed there.
ELSEWHERE = ("tests/export/clients/",)

# A part of keras_nas may import from the parts before it.
PART_ORDER = (
    "version",
    "errors",
    "choices",
    "files",
    "json_files",
    "file_checks",
    "settings",
    "targets",
    "record",
    "layers",
    "optimizers",
    "graph",
    "loading",
    "statistics",
    "costs",
    "gates",
    "surgery",
    "architecture",
    "regularizers",
    "importance",
    "models",
    "data",
    "tasks",
    "training",
    "search",
    "callbacks",
    "compression",
    "runs",
    "reporting",
)

# The parts that are a file beside `keras_nas/__init__.py`; the others are folders.
FILE_PARTS = frozenset(part for part in PART_ORDER if (ROOT / "keras_nas" / f"{part}.py").is_file())

# Where the name that is imported is not the name that is installed.
DISTRIBUTIONS = {
    "absl": "absl-py",
    "ai_edge_litert": "ai-edge-litert",
    "PIL": "pillow",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "tensorflow_lite_support": "tflite-support",
    "tflite_support": "tflite-support",
}


@dataclass(frozen=True)
class Module:
    """One Python file.

    Attributes:
        name: dotted name (`keras_nas.graph.read`; a package's `__init__` has the package's name).
        path: the file.
        imports: dotted names as written; `from a import b` gives `a.b`.
        is_program: whether the file has an `if __name__ == "__main__":` block.
    """

    name: str
    path: Path
    imports: frozenset[str]
    is_program: bool

    @property
    def relative_path(self) -> str:
        return self.path.relative_to(ROOT).as_posix()


def part_of(name: str) -> str | None:
    """`graph` for `keras_nas.graph.read`; None for `keras_nas` itself and for other packages."""
    pieces = name.split(".")
    return pieces[1] if pieces[0] == "keras_nas" and len(pieces) > 1 else None


def parse_module(path: Path) -> Module:
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    pieces = path.relative_to(ROOT).with_suffix("").parts
    name = ".".join(pieces[:-1] if pieces[-1] == "__init__" else pieces)
    return Module(name, path, _imported_names(tree), _is_program(tree))


@functools.cache
def modules() -> dict[str, Module]:
    """Every module of the checkout by its dotted name, but those that run elsewhere."""
    found = (
        parse_module(path) for top in FIRST_PARTY for path in sorted((ROOT / top).rglob("*.py"))
    )
    return {
        module.name: module for module in found if not module.relative_path.startswith(ELSEWHERE)
    }


def resolve(imported: str) -> str | None:
    """The first-party module that an imported name leads to; None for other people's modules."""
    if imported.split(".")[0] not in FIRST_PARTY:
        return None
    pieces = imported.split(".")
    for end in range(len(pieces), 0, -1):
        candidate = ".".join(pieces[:end])
        if candidate in modules():
            return candidate
    return None


def first_party_imports(module: Module) -> set[str]:
    return {target for name in module.imports if (target := resolve(name)) is not None}


def third_party_imports(module: Module) -> set[str]:
    """Names of the distributions (as on PyPI) that the module imports."""
    tops = {name.split(".")[0] for name in module.imports}
    tops -= {*FIRST_PARTY, *sys.stdlib_module_names}
    return {DISTRIBUTIONS.get(top, top.replace("_", "-").lower()) for top in tops}


def direct_requirements() -> set[str]:
    """Names of the distributions in requirements.in."""
    lines = (ROOT / "requirements.in").read_text(encoding="utf-8").splitlines()
    names = (re.match(r"[A-Za-z0-9._-]+", line) for line in lines)
    return {name.group().lower().replace("_", "-") for name in names if name}


def _imported_names(tree: ast.Module) -> frozenset[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"Relative import in line {node.lineno}: write the full name.")
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(names)


def _is_program(tree: ast.Module) -> bool:
    return any(
        isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"
        for node in tree.body
    )
