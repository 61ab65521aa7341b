"""An aarch64 Python with LiteRT on an x86-64 machine, by qemu's user emulation.

Debian's aarch64 packages are unpacked (not installed) into a cache folder, and the aarch64 wheels
beside them; `qemu-aarch64-static` then runs that Python like any program. Nothing outside the cache
folder is touched and no root rights are used by what runs in it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from absl import logging

from keras_nas.errors import KerasNasError

SUITE = "bookworm"
PYTHON = "3.11"
WHEELS = (
    "ai-edge-litert==2.1.0",  # 2.3.0 ends with a segmentation fault under qemu 7.2
    "numpy==2.1.3",
    "flatbuffers==25.12.19",
    "typing-extensions==4.16.0",
    "tqdm==4.70.1",
    "protobuf==7.36.2",
    "backports-strenum==1.2.8",
)
TOOLS = {
    "qemu-aarch64-static": "qemu-user-static",
    "debootstrap": "debootstrap",
    "dpkg-deb": "dpkg",
}
DEFAULT_CACHE = "~/.cache/keras_nas/arm64"
_TIMEOUT_S = 1800


@dataclasses.dataclass(frozen=True)
class ArmEnvironment:
    """An unpacked environment: `root` holds Debian's files, `site` the wheels."""

    root: Path
    site: Path

    def run(self, arguments: Sequence[str], timeout_s: float = _TIMEOUT_S) -> str:
        """Runs the aarch64 Python with `arguments` and returns what it printed.

        Raises:
            KerasNasError: It failed or did not end in time; the message is its last line.
        """
        command = [
            "qemu-aarch64-static", "-L", str(self.root), str(self.root / f"usr/bin/python{PYTHON}"),
            *arguments,
        ]  # fmt: skip
        environment = {"PYTHONPATH": str(self.site), "PATH": os.environ["PATH"]}
        return _run(command, environment=environment, timeout_s=timeout_s)


def missing_tools() -> list[str]:
    """Returns the Debian packages of the programs that are not installed."""
    return [package for program, package in TOOLS.items() if shutil.which(program) is None]


def prepare(cache: str | os.PathLike[str] = DEFAULT_CACHE) -> ArmEnvironment:
    """Returns the environment in `cache`, made there when it is not complete yet.

    Making it takes about a minute, 230 MB of Debian packages and 40 MB of wheels.

    Raises:
        KerasNasError: A program is missing, or a download or unpacking failed.
    """
    recipe = hashlib.sha256("\n".join((SUITE, PYTHON, *WHEELS)).encode()).hexdigest()[:12]
    folder = Path(cache).expanduser() / recipe
    environment = ArmEnvironment(folder / "root", folder / "site")
    if not folder.exists():
        missing = missing_tools()
        if missing:
            raise KerasNasError(
                f"Running aarch64 programs here needs Debian's packages {' '.join(missing)}: "
                f"apt-get install {' '.join(missing)}."
            )
        logging.info("Making an aarch64 environment in %s.", folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".arm64.", dir=folder.parent) as temporary:
            _unpack_debian(Path(temporary) / "new" / "root")
            _unpack_wheels(Path(temporary) / "new" / "site")
            os.rename(Path(temporary) / "new", folder)
    return environment


def _unpack_debian(root: Path) -> None:
    root.mkdir(parents=True)
    _run(
        ["debootstrap", "--arch=arm64", "--foreign", "--variant=minbase", "--include=python3",
         SUITE, str(root)]
    )  # fmt: skip
    archives = root / "var/cache/apt/archives"
    for package in sorted(archives.glob("*.deb")):
        _run(["dpkg-deb", "-x", str(package), str(root)])
    shutil.rmtree(archives)


def _unpack_wheels(site: Path) -> None:
    platforms = [f"--platform=manylinux{name}_aarch64" for name in ("2014", "_2_27", "_2_28")]
    _run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(site), *platforms,
         f"--python-version={PYTHON}", "--only-binary=:all:", "--no-deps", *WHEELS]
    )  # fmt: skip


def _run(
    command: Sequence[str],
    environment: dict[str, str] | None = None,
    timeout_s: float = _TIMEOUT_S,
) -> str:
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise KerasNasError(f"{command[0]} did not end within {timeout_s:g} s.") from error
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
        raise KerasNasError(f"{command[0]} ended with {done.returncode}: {lines[-1]}")
    return done.stdout
