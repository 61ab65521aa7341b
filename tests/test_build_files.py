"""BUILD files say what the code imports, and let nothing be used against the order."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from tests.build_files import CHECKOUT_TESTS, build_files, label_of, stale_files
from tests.source_tree import PART_ORDER, ROOT, modules, part_of

LABELS = ("deps", "visibility")


def is_file(path: str) -> bool:
    return (ROOT / path).is_file()


@cache
def rules() -> dict[str, dict[str, object]]:
    """Every rule of the BUILD files on disk: its attributes by its label."""
    found: dict[str, dict[str, object]] = {}
    for path in filter(is_file, build_files()):
        folder = Path(path).parent.as_posix().removeprefix(".")
        for statement in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
            if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)):
                continue
            values = {
                keyword.arg: ast.literal_eval(keyword.value)
                for keyword in statement.value.keywords
                if keyword.arg in {"name", "srcs", *LABELS}
                and not isinstance(keyword.value, ast.Call)
            }
            if "name" in values and isinstance(statement.value.func, ast.Name):
                values["rule"] = statement.value.func.id
                found[f"//{folder}:{values['name']}"] = values
    return found


def absolute(label: str, folder: str) -> str:
    if label.startswith(":"):
        return f"//{folder}{label}"
    return label if ":" in label else f"{label}:{label.rsplit('/', 1)[-1]}"


def test_build_files_are_in_step_with_the_imports() -> None:
    assert stale_files() == [], "Run `make build-files` and commit the BUILD files."


def test_every_module_has_a_rule_that_holds_its_file() -> None:
    for name in modules().keys() - CHECKOUT_TESTS:
        label = label_of(name)
        folder = label.removeprefix("//").split(":")[0]
        source = modules()[name].path.relative_to(ROOT / folder).as_posix()
        assert source in rules()[label]["srcs"], name


def test_every_dependency_is_a_rule_that_may_be_seen() -> None:
    for label, rule in rules().items():
        folder = label.removeprefix("//").split(":")[0]
        for dependency in rule.get("deps", ()):
            if dependency.startswith("@pypi//"):
                continue
            used = absolute(dependency, folder)
            used_folder = used.removeprefix("//").split(":")[0]
            assert used in rules(), f"{label} needs {used}"
            assert folder == used_folder or _sees(folder, rules()[used]["visibility"]), (
                f"{label} must not see {used}"
            )


def _sees(folder: str, visibility: list[str]) -> bool:
    top = folder.split("/")[0]
    return f"//{folder}:__pkg__" in visibility or f"//{top}:__subpackages__" in visibility


def test_a_part_is_hidden_from_the_parts_before_it() -> None:
    for name in modules():
        part = part_of(name)
        if part is None:
            continue
        visibility = rules()[label_of(name)]["visibility"]
        assert "//visibility:public" not in visibility
        for earlier in PART_ORDER[: PART_ORDER.index(part)]:
            assert f"//keras_nas/{earlier}:__pkg__" not in visibility, name


def test_search_is_hidden_from_export() -> None:
    visibility = rules()["//keras_nas/search:search"]["visibility"]
    assert not any(label.startswith("//export") for label in visibility)


def test_every_app_is_a_binary_and_every_test_file_a_test() -> None:
    programs = [m for m in modules().values() if m.name.startswith("apps.") and m.is_program]
    tests = [m for m in modules().values() if m.path.name.startswith("test_")]
    kinds = {module.name: rules()[label_of(module.name)]["rule"] for module in programs}
    kinds |= {
        module.name: rules()[label_of(module.name)]["rule"]
        for module in tests
        if module.name not in CHECKOUT_TESTS
    }
    assert {kind for name, kind in kinds.items() if name.startswith("apps.")} <= {"py_binary"}
    assert {kind for name, kind in kinds.items() if name.startswith("tests.")} == {"py_test"}
