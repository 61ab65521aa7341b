"""A fake phone behind a real adb server of its own, and programs and models for it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from export.android.adb import Adb
from export.latency.single_op import build
from keras_nas.costs.latency_condition import Condition
from tests.export.fake_android import FakeAndroid

EXPORT_TESTS = Path(__file__).parent.parent
ADB_MISSING = (
    "the program `adb` is not installed (Debian, Ubuntu: apt-get install adb; elsewhere: Android "
    "SDK Platform-Tools)"
)


class AdbServer:
    """`with AdbServer(folder) as server: server.attach(phone); Adb(server_port=server.port)`.

    It never uses port 5037, where a developer's own server listens, and is ended by its process, so
    that no other server is touched.
    """

    def __init__(self, folder: Path) -> None:
        self.port = _free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> AdbServer:
        program = shutil.which("adb")
        assert program is not None
        settings = {"HOME": str(self._folder), "TMPDIR": str(self._folder)}
        no_emulators = {"ADB_LOCAL_TRANSPORT_MAX_PORT": "0"}
        with open(self._folder / "adb.log", "wb") as log:
            self._process = subprocess.Popen(
                [program, "-P", str(self.port), "nodaemon", "server"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**_environment(), **settings, **no_emulators},
            )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return self
        raise TimeoutError((self._folder / "adb.log").read_text())

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait()

    def attach(self, serial: str) -> str:
        """Connects the server to the device at host:port; returns what adb printed."""
        return Adb(server_port=self.port).run(["connect", serial]).stdout

    def detach(self, serial: str) -> None:
        """Makes the server forget the device."""
        Adb(server_port=self.port).run(["disconnect", serial])


def _environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith(("ADB_", "ANDROID_"))}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def adb_server(tmp_path_factory) -> Iterator[AdbServer]:
    if shutil.which("adb") is None:
        pytest.skip(ADB_MISSING)
    with AdbServer(tmp_path_factory.mktemp("adb")) as server:
        yield server


@pytest.fixture(autouse=True)
def _own_adb_settings(monkeypatch):
    for name in ("ANDROID_SERIAL", "ANDROID_ADB_SERVER_PORT", "ADB_SERVER_SOCKET"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def attach(adb_server, tmp_path) -> Iterator[Callable[..., FakeAndroid]]:
    """Makes a phone and attaches it; every one is taken away at the end."""
    phones: list[FakeAndroid] = []

    def make(auth: str = "accept") -> FakeAndroid:
        folder = tmp_path / f"phone_{len(phones)}"
        folder.mkdir()
        phone = FakeAndroid(folder, auth)
        phones.append(phone)
        adb_server.attach(phone.serial)
        return phone

    yield make
    for phone in phones:
        adb_server.detach(phone.serial)
        phone.stop()


@pytest.fixture
def phone(attach) -> FakeAndroid:
    return attach()


@pytest.fixture
def model(tmp_path) -> Callable[..., str]:
    """Writes a small real .tflite file under a name and returns its path."""

    def write(name: str = "model.tflite", channels: int = 8) -> str:
        path = tmp_path / name
        path.write_bytes(build(Condition("conv", 8, 8, kernel=(3, 3)), 4, channels))
        return str(path)

    return write


@pytest.fixture
def player(tmp_path) -> Callable[..., str]:
    """Makes a `benchmark_model` that plays a recorded log.

    `before` are shell lines that run first; $graph is the file's path, $csv the profile's.
    """

    def make(log: str = "percentiles.txt", before: str = "", csv: str | None = None) -> str:
        logs = EXPORT_TESTS / "benchmark_model_logs"
        shutil.copy(logs / log, tmp_path / "played.log")
        write = "" if csv is None else f'test -z "$csv" || cp "{logs / csv}" "$csv"'
        program = tmp_path / "benchmark_model"
        program.write_text(
            "#!/bin/sh\n"
            'for word in "$@"; do case "$word" in\n'
            "  --graph=*) graph=${word#*=};;\n"
            "  --profiling_output_csv_file=*) csv=${word#*=};;\n"
            "esac; done\n"
            'test -f "$graph" || exit 66\n'
            f'{before}\ncat "{tmp_path / "played.log"}"\n{write}\n'
        )
        return str(program)

    return make


@pytest.fixture
def litert_program(tmp_path) -> str:
    """A `benchmark_model` that runs the model in LiteRT."""
    program = tmp_path / "litert_benchmark_model"
    source = (EXPORT_TESTS / "litert_benchmark_model.py").read_text()
    program.write_text(f"#!{sys.executable}\n{source}")
    return str(program)
