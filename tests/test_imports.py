"""Imports run one way: docs/architecture.md's order, and a light `import keras_nas`."""

from __future__ import annotations

import graphlib
import subprocess
import sys

from tests.source_tree import (
    FIRST_PARTY,
    PART_ORDER,
    ROOT,
    direct_requirements,
    first_party_imports,
    modules,
    part_of,
    resolve,
    third_party_imports,
)

HEAVY = (
    "keras_cv",
    "nilearn",
    "tensorflow_datasets",
    "tensorflow_lite_support",
    "tensorflow_model_optimization",
    "tflite_support",
)


def test_every_part_of_the_library_has_its_place_in_the_order() -> None:
    parts = {part for name in modules() if (part := part_of(name)) is not None}
    assert parts <= set(PART_ORDER)
    assert {"errors", "files", "layers", "graph"} <= parts


def test_the_library_imports_only_from_earlier_parts() -> None:
    wrong = [
        f"{module.relative_path} imports {target}"
        for module in modules().values()
        if (part := part_of(module.name)) is not None
        for target in sorted(first_party_imports(module))
        if not _may_import(part, target)
    ]
    assert wrong == []


def _may_import(part: str, target: str) -> bool:
    target_part = part_of(target)
    if target_part is None:
        return False
    return PART_ORDER.index(target_part) <= PART_ORDER.index(part)


def test_the_library_imports_neither_apps_nor_export() -> None:
    wrong = [
        f"{module.relative_path} imports {name}"
        for module in modules().values()
        for name in sorted(module.imports)
        if module.name.split(".")[0] == "keras_nas"
        and name.split(".")[0] in {"apps", "export", "benchmarks", "tests"}
    ]
    assert wrong == []


def test_export_reaches_nothing_of_search() -> None:
    reached: dict[str, str] = {}
    waiting = [name for name in modules() if name.split(".")[0] == "export"]
    while waiting:
        name = waiting.pop()
        for target in first_party_imports(modules()[name]) - reached.keys():
            reached[target] = name
            waiting.append(target)
    wrong = {
        target: source
        for target, source in reached.items()
        if part_of(target) in {"training", "search", "runs", "reporting"}
        or target.split(".")[0] in {"apps", "benchmarks", "tests"}
    }
    assert wrong == {}


def test_apps_import_no_tests_or_benchmarks() -> None:
    wrong = [
        f"{module.relative_path} imports {target}"
        for module in modules().values()
        for target in sorted(first_party_imports(module))
        if module.name.split(".")[0] == "apps" and target.split(".")[0] in {"tests", "benchmarks"}
    ]
    assert wrong == []


def test_no_module_imports_itself_round_a_circle() -> None:
    dependencies = {
        module.name: first_party_imports(module) - {module.name} for module in modules().values()
    }
    order = list(graphlib.TopologicalSorter(dependencies).static_order())
    assert set(order) == set(modules())


def test_every_first_party_import_names_something_that_exists() -> None:
    wrong = [
        f"{module.relative_path} imports {name}"
        for module in modules().values()
        for name in sorted(module.imports)
        if name.split(".")[0] in FIRST_PARTY and not _exists(name)
    ]
    assert wrong == []


def _exists(name: str) -> bool:
    """Whether `name` is a module, a package's folder, or one name inside a module."""
    if (ROOT / name.replace(".", "/")).is_dir():
        return True
    target = resolve(name)
    return target is not None and name.count(".") - target.count(".") <= 1


def test_every_third_party_import_is_a_direct_requirement() -> None:
    wrong = [
        f"{module.relative_path} imports {name}"
        for module in modules().values()
        for name in sorted(third_party_imports(module) - direct_requirements())
    ]
    assert wrong == []


def test_no_module_is_named_utils() -> None:
    vague = {"util", "utils", "helper", "helpers", "misc", "common"}
    assert [name for name in modules() if vague & set(name.split("."))] == []


def test_importing_the_library_loads_nothing_heavy() -> None:
    """Keras looks for matplotlib itself; what counts is what keras_nas adds."""
    code = (
        "import sys, keras, tensorflow\n"
        "before = set(sys.modules)\n"
        "import keras_nas\n"
        "added = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        f"print('keras_nas' in added, sorted(set({HEAVY!r}) & added))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "True []"
