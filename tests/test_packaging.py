"""The wheel: what is in it under which names, and that it works where no checkout is.

The fast tests look at what setup.py builds. The slow ones install the wheel in an environment of
their own (two gigabytes, of the versions in requirements.txt).
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tomllib
from packaging.requirements import Requirement

from apps.main import EXTRAS
from tests.source_tree import DISTRIBUTIONS, ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
INSTALLED = {"keras_nas": "keras_nas", "apps": "keras_nas_apps", "export": "keras_nas_export"}
"""The folders that go into the wheel, and their names there."""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the wheel is made of: building leaves files beside it."""
    copy = tmp_path_factory.mktemp("sources")
    for name in INSTALLED:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def built(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that setup.py builds, which the wheel packs."""
    folder = tmp_path_factory.mktemp("built")
    command = [sys.executable, "setup.py", "--quiet", "build_py", f"--build-lib={folder}"]
    done = subprocess.run(command, cwd=sources, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def command(path: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """What the command `keras-nas` of the folder ended with."""
    code = "from keras_nas_apps.command import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(path)},
    )  # fmt: skip


def test_every_module_and_file_of_the_three_folders_is_in_the_wheel(built: Path) -> None:
    wanted = {
        f"{installed}/{path.relative_to(ROOT / name).as_posix()}"
        for name, installed in INSTALLED.items()
        for path in (ROOT / name).rglob("*")
        if path.is_file() and path.name != "BUILD" and "__pycache__" not in path.parts
    }
    found = {path.relative_to(built).as_posix() for path in built.rglob("*") if path.is_file()}
    assert found == wanted
    assert "keras_nas_apps/flagfiles/tables/dso_cifar10.cfg" in found


def test_no_module_of_the_wheel_imports_a_folder_of_the_checkout(built: Path) -> None:
    imported = {
        (path.relative_to(built).as_posix(), name.split(".")[0])
        for path in built.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in imports_of(node)
    }
    assert [pair for pair in imported if pair[1] in {"apps", "export", "tests", "benchmarks"}] == []
    assert ("keras_nas_apps/search.py", "keras_nas_apps") in imported
    assert ("keras_nas_export/tflite.py", "keras_nas_export") in imported


def imports_of(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


def test_messages_of_the_wheel_name_the_command(built: Path) -> None:
    named = [path for path in built.rglob("*.*") if b"python -m apps" in path.read_bytes()]
    assert {path.name for path in named} == {"__init__.py", "__main__.py"}
    assert "keras-nas search --flagfile" in (built / "keras_nas_apps" / "search.py").read_text()


def test_the_command_of_the_wheel_lists_flags_and_finds_flagfiles(
    built: Path, tmp_path: Path
) -> None:
    done = command(built, "search", "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Runs a search in a folder")
    assert "\n  --lambda_a: " in done.stdout
    for name in ("demo_dnal.cfg", "apps/flagfiles/dso_cifar10_full.cfg"):
        flags = [f"--flagfile={name}", "--batch_size=0"]
        done = command(built, "search", *flags, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.startswith("Error: `batch_size` must be 1 or more"), done.stderr


def test_every_module_that_not_everybody_needs_has_its_extra() -> None:
    extras = {
        extra: {Requirement(line).name for line in lines}
        for extra, lines in PROJECT["optional-dependencies"].items()
    }
    for module, extra in EXTRAS.items():
        assert DISTRIBUTIONS.get(module, module.replace("_", "-")) in extras[extra], module
    assert set(EXTRAS.values()) == set(extras)


def test_the_command_is_the_projects() -> None:
    assert PROJECT["scripts"] == {"keras-nas": "keras_nas_apps.command:main"}


TINY = """
import sys
import keras
import numpy as np
import keras_nas as kn

keras.utils.set_random_seed(0)
inputs = keras.Input((16, 16, 3))
x = keras.layers.Conv2D(8, 3, strides=2, use_bias=False)(inputs)
x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3, activation="relu")(x))
model = keras.Model(inputs, keras.layers.Dense(4, activation="softmax")(x))
supernet = kn.gates.insert(model, kn.layers.ScaledSigmoidGate)
for gate in kn.gates.find(supernet):
    gate.set_mask(np.arange(8) < 4)
kn.surgery.build(supernet, kn.Architecture.from_gates(supernet)).save("small.keras")
print(kn.__file__)
"""


class Environment:
    """A virtual environment that has the wheel, and nothing of this checkout on its path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "KERAS"))}
        self.variables = {**kept, "TF_CPP_MIN_LOG_LEVEL": "3"}

    def run(self, program: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.folder / "bin" / program, *map(str, arguments)],
            cwd=cwd, capture_output=True, text=True, check=False, env=self.variables,
        )  # fmt: skip


@pytest.fixture(scope="module")
def environment(sources: Path, request: pytest.FixtureRequest) -> Environment:
    """The wheel of this checkout; what it needs stays installed from one run to the next."""
    folder = Path(request.config.cache.mkdir("wheel"))
    found = Environment(folder)
    lock = ROOT / "requirements.txt"
    finished = folder / "finished.txt"
    wanted = json.dumps([lock.read_text(), PROJECT["optional-dependencies"]])
    install = ("install", "--quiet", "--disable-pip-version-check", "--constraint", lock)
    if not finished.exists() or finished.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        done = found.run("pip", *install, ".[export]", cwd=sources)
        assert done.returncode == 0, done.stderr[-2000:]
        finished.write_text(wanted)
    done = found.run("pip", *install, "--force-reinstall", "--no-deps", ".", cwd=sources)
    assert done.returncode == 0, done.stderr[-2000:]
    return found


@pytest.mark.slow
def test_an_installed_command_lists_its_subcommands_and_their_flags(
    environment: Environment, tmp_path: Path
) -> None:
    done = environment.run("keras-nas", "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^  search +Runs a search in a folder", done.stdout, re.MULTILINE)
    done = environment.run("keras-nas", "search", "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\n  --lambda_a: " in done.stdout


@pytest.mark.slow
def test_an_installed_keras_nas_prunes_exports_and_measures(
    environment: Environment, tmp_path: Path
) -> None:
    done = environment.run("python", "-c", TINY, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip().startswith(str(environment.folder))

    done = environment.run("keras-nas", "export", "--model=small.keras", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "small_float32.tflite").stat().st_size > 1000
    assert json.loads((tmp_path / "small_float32.parity.json").read_text())

    flags = ("--models=small_float32.tflite", "--runs=5", "--output=times.json")
    done = environment.run("keras-nas", "benchmark", *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    (result,) = json.loads((tmp_path / "times.json").read_text())["results"]
    assert result["notes"] == []  # the probe of memory and operations ran


@pytest.mark.slow
def test_an_editable_install_has_the_command_too(
    environment: Environment, sources: Path, tmp_path: Path
) -> None:
    done = environment.run(
        "pip", "install", "--quiet", "--no-deps", "--editable", sources, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-2000:]
    done = environment.run("keras-nas", "benchmark", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: `models` must name .tflite files"), done.stderr
