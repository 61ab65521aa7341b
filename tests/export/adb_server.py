"""A real adb server for tests, on a port and in a home folder of its own.

It never uses port 5037, where a developer's own server listens, and is ended by its process, so
that no other server is touched.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from export.android.adb import Adb

ADB_MISSING = (
    "the program `adb` is not installed (Debian, Ubuntu: apt-get install adb; elsewhere: Android "
    "SDK Platform-Tools)"
)


class AdbServer:
    """`with AdbServer(folder) as server: server.attach(phone); Adb(server_port=server.port)`."""

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
