"""Files out of Debian and Python packages, without installing them and without root.

A Debian package is fetched by `apt-get download`, which checks the archive's signature, and
unpacked by `dpkg-deb -x`. Where this machine's package lists are missing or stale, lists of our
own are made in a temporary folder. A Python wheel is fetched by `pip download --no-deps`. Both
work in a temporary folder that is removed at the end; the caller copies what it wants.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from keras_nas.errors import KerasNasError

_TIMEOUT_SECONDS = 900


@contextlib.contextmanager
def debian_package(name: str) -> Iterator[Path]:
    """Unpacks the Debian package `name`.

    Example:

    ```python
    with debian_package("dataset-fashion-mnist") as root:
        shutil.copy(root / "usr/share/datasets/fashion-mnist/train-labels-idx1-ubyte.gz", ".")
    ```

    Yields:
        The folder that stands for `/` in the package.

    Raises:
        KerasNasError: `apt-get` or `dpkg-deb` is missing, or knows no such package, or cannot
            reach the archive.
    """
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise KerasNasError(f"Debian package `{name}` needs `{tool}`, which is not here.")
    with tempfile.TemporaryDirectory(prefix="keras_nas_") as folder:
        archive = _download_debian(name, Path(folder))
        root = Path(folder, "root")
        _run(["dpkg-deb", "-x", str(archive), str(root)], folder)
        yield root


def _download_debian(name: str, folder: Path) -> Path:
    options = ["-q", "-o", "APT::Sandbox::User="]
    options += ["-o", "Acquire::http::Timeout=30", "-o", "Acquire::https::Timeout=30"]
    try:
        _run(["apt-get", *options, "download", name], folder)
    except KerasNasError:
        options += _own_package_lists(folder)
        _run(["apt-get", *options, "update"], folder)
        _run(["apt-get", *options, "download", name], folder)
    archives = list(folder.glob("*.deb"))
    if len(archives) != 1:
        raise KerasNasError(f"`apt-get download {name}` brought no package.")
    return archives[0]


def _own_package_lists(folder: Path) -> list[str]:
    lists, cache = folder / "lists", folder / "cache"
    for made in (lists / "partial", cache / "archives" / "partial"):
        made.mkdir(parents=True)
    return ["-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={cache}"]


@contextlib.contextmanager
def python_package(name: str, version: str) -> Iterator[Path]:
    """The files of the Python package `name`: the installed one, else one fetched from PyPI.

    Args:
        name: The name, the same on PyPI and for import.
        version: The version to fetch where the package is not installed.

    Yields:
        The package's folder.

    Raises:
        KerasNasError: `pip` is missing or cannot fetch the package.
    """
    spec = importlib.util.find_spec(name)
    if spec is not None and spec.submodule_search_locations:
        yield Path(next(iter(spec.submodule_search_locations)))
        return
    with tempfile.TemporaryDirectory(prefix="keras_nas_") as folder:
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        options = ["--no-deps", "--only-binary=:all:", "--dest", folder]
        _run([*pip, "download", *options, f"{name}=={version}"], folder)
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            wheel.extractall(folder)
        yield Path(folder, name)


def _run(command: Sequence[str], folder: str | os.PathLike[str]) -> None:
    environment = os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        subprocess.run(
            command,
            cwd=folder,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise KerasNasError(f"`{_shown(command)}` took over {_TIMEOUT_SECONDS} s.") from error
    except subprocess.CalledProcessError as error:
        said = [line for line in error.stderr.splitlines() if line.strip()]
        raise KerasNasError(
            f"`{_shown(command)}` failed: {said[-1].strip() if said else error.returncode}"
        ) from error


def _shown(command: Sequence[str]) -> str:
    return f"{Path(command[0]).name} … {command[-1]}"
