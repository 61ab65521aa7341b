"""An Android device for tests: speaks adb's device protocol over TCP to a real adb server.

`adb connect localhost:PORT` attaches it like a phone on the network. Its shell is this host's
`/bin/sh` with the device's `/data/local/tmp` mapped into a folder of the test, so what a command
line would do on a phone happens here too; `getprop` and `dumpsys` answer from `properties` and
`thermal`. Faults are plain attributes that a test sets before or during a run.

Protocol: AOSP packages/modules/adb/protocol.txt (transport) and file_sync_protocol.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import stat
import struct
import subprocess
import threading
import time
from pathlib import Path

_HEADER = struct.Struct("<6I")
_SHELL_PACKET = struct.Struct("<BI")
_SYNC_HEADER = struct.Struct("<4sI")
_STAT_V2 = struct.Struct("<4sIQQIIIIQqqq")
_VERSION = 0x01000001
_MAX_DATA = 256 * 1024
_STDOUT, _STDERR, _EXIT = 1, 2, 3
DEVICE_FOLDER = "/data/local/tmp"

PIXEL = {
    "ro.product.manufacturer": "Google",
    "ro.product.model": "Pixel 8",
    "ro.product.cpu.abi": "arm64-v8a",
    "ro.product.cpu.abilist": "arm64-v8a,armeabi-v7a,armeabi",
    "ro.build.version.release": "15",
    "ro.build.version.sdk": "35",
}


def thermal_dump(status: int = 0, skin: float = 31.5, cpu: float = 40.25) -> str:
    """What `dumpsys thermalservice` prints on Android 10 and newer."""
    return (
        "IsStatusOverride: false\nThermalEventListeners:\n\tcallbacks: 2\n\tkilled: false\n"
        f"Thermal Status: {status}\nCached temperatures:\n"
        "\tTemperature{mValue=99.0, mType=0, mName=CPU0, mStatus=0}\n"
        "HAL Ready: true\nHAL connection:\n\tThermalHAL AIDL 2 connected: yes\n"
        "Current temperatures from HAL:\n"
        f"\tTemperature{{mValue={cpu}, mType=0, mName=CPU0, mStatus={status}}}\n"
        f"\tTemperature{{mValue={skin}, mType=3, mName=VIRTUAL-SKIN, mStatus={status}}}\n"
        "\tTemperature{mValue=-99.9, mType=5, mName=power-amplifier, mStatus=0}\n"
        "Current cooling devices from HAL:\n"
        "\tCoolingDevice{mValue=0, mType=2, mName=thermal-cpufreq-0}\n"
    )


class FakeAndroid:
    """One device.

    Args:
        folder: An empty folder for the device's files.
        auth: "accept"; "refuse" (the user never taps on "Allow"); "silent" (never answers).

    Attributes:
        commands: The shell lines that arrived, as they came.
        properties, thermal: What `getprop` and `dumpsys thermalservice` print; `thermal` may be a
            list, of which each call uses up one (the last one stays).
        push_failure: When set, a push ends with this message of the device.
        push_limit: With `push_failure`: only files of more bytes fail.
        unplug_on: When a shell line contains this text, the device goes away `unplug_after_s`
            seconds after it was started.
    """

    def __init__(self, folder: Path, auth: str = "accept") -> None:
        self.tmp = folder / "device" / DEVICE_FOLDER.lstrip("/")
        self.tmp.mkdir(parents=True)
        self._bin = folder / "bin"
        self._bin.mkdir()
        self.properties = dict(PIXEL)
        self.thermal: str | list[str] = thermal_dump()
        self.commands: list[str] = []
        self.push_failure: str | None = None
        self.push_limit = 0
        self.unplug_on: str | None = None
        self.unplug_after_s = 0.3
        self._auth = auth
        self._processes: list[subprocess.Popen[bytes]] = []
        self._connections: list[_Connection] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.serial = f"127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def unplug(self) -> None:
        """The device goes away: every connection ends, and none is taken any more."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            connection.close()

    def stop(self) -> None:
        """Unplugs the device and ends every process that was started on it."""
        self.unplug()
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def left_over(self) -> list[str]:
        """The files that lie in /data/local/tmp."""
        return sorted(str(path.relative_to(self.tmp)) for path in self.tmp.rglob("*"))

    def running(self) -> list[int]:
        """The ids of the processes that were started on the device and still run."""
        return [process.pid for process in self._processes if process.poll() is None]

    def local(self, remote: str) -> str:
        """Where a path of the device lies on this host."""
        return remote.replace(DEVICE_FOLDER, str(self.tmp))

    def start_process(self, line: str) -> subprocess.Popen[bytes]:
        """Runs a shell line as the device would."""
        self._write_programs(line)
        process = subprocess.Popen(
            ["/bin/sh", "-c", self.local(line)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.tmp,
            env={"PATH": f"{self._bin}:/usr/bin:/bin", "HOME": str(self.tmp)},
            start_new_session=True,
        )
        self._processes.append(process)
        if self.unplug_on is not None and self.unplug_on in line:
            threading.Timer(self.unplug_after_s, self.unplug).start()
        return process

    def _write_programs(self, line: str) -> None:
        listing = "\n".join(f"[{key}]: [{value}]" for key, value in self.properties.items())
        thermal = self.thermal
        if isinstance(thermal, list):
            used_up = "thermalservice" in line and len(thermal) > 1
            thermal = thermal.pop(0) if used_up else thermal[0]
        for name, text in (("getprop", listing), ("dumpsys", thermal)):
            program = self._bin / name
            program.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n")
            program.chmod(0o755)

    def _accept(self) -> None:
        while True:
            try:
                connected, _ = self._listener.accept()
            except OSError:
                return
            connection = _Connection(self, connected, self._auth)
            self._connections.append(connection)
            threading.Thread(target=connection.serve, daemon=True).start()


class _Connection:
    """The packets of one adb server."""

    def __init__(self, device: FakeAndroid, connected: socket.socket, auth: str) -> None:
        self.device = device
        self._socket = connected
        self._auth = auth
        self._lock = threading.Lock()
        self._streams: dict[int, _Stream] = {}
        self._next_id = 1

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for stream in list(self._streams.values()):
            stream.end()

    def send(self, command: bytes, arg0: int, arg1: int, data: bytes = b"") -> None:
        number = int.from_bytes(command, "little")
        header = _HEADER.pack(number, arg0, arg1, len(data), 0, number ^ 0xFFFFFFFF)
        with self._lock, contextlib.suppress(OSError):
            self._socket.sendall(header + data)

    def serve(self) -> None:
        with contextlib.suppress(OSError, EOFError):
            while True:
                number, arg0, arg1, length, _, _ = _HEADER.unpack(self._read(_HEADER.size))
                self._handle(number.to_bytes(4, "little"), arg0, arg1, self._read(length))
        self.close()

    def forget(self, stream: _Stream) -> None:
        self._streams.pop(stream.local_id, None)

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self._socket.recv(size - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def _handle(self, command: bytes, arg0: int, arg1: int, data: bytes) -> None:
        if command in (b"CNXN", b"AUTH"):
            self._greet()
        elif command == b"OPEN":
            stream = _Stream(self, self._next_id, arg0)
            self._streams[self._next_id] = stream
            self._next_id += 1
            service = data.rstrip(b"\0").decode()
            threading.Thread(target=_serve, args=(stream, service), daemon=True).start()
        elif arg1 in self._streams:
            stream = self._streams[arg1]
            if command == b"OKAY":
                stream.acknowledged.release()
            elif command == b"WRTE":
                stream.received.put(data)
                self.send(b"OKAY", stream.local_id, stream.remote_id)
            elif command == b"CLSE":
                stream.end()

    def _greet(self) -> None:
        if self._auth == "refuse":
            self.send(b"AUTH", 1, 0, b"t" * 20)
        elif self._auth == "accept":
            model = self.device.properties["ro.product.model"]
            banner = f"device::ro.product.model={model};features=shell_v2,cmd,stat_v2"
            self.send(b"CNXN", _VERSION, _MAX_DATA, banner.encode())


class _Stream:
    """One service of the device, opened by the other side."""

    def __init__(self, connection: _Connection, local_id: int, remote_id: int) -> None:
        self.device = connection.device
        self.local_id = local_id
        self.remote_id = remote_id
        self.received: queue.Queue[bytes] = queue.Queue()
        self.acknowledged = threading.Semaphore(0)
        self._connection = connection
        self._buffer = b""
        self._ended = False
        self._lock = threading.Lock()

    def accept(self) -> None:
        self._connection.send(b"OKAY", self.local_id, self.remote_id)

    def write(self, data: bytes) -> None:
        with self._lock:
            for start in range(0, len(data), _MAX_DATA):
                if self._ended:
                    return
                part = data[start : start + _MAX_DATA]
                self._connection.send(b"WRTE", self.local_id, self.remote_id, part)
                self.acknowledged.acquire()

    def read(self, size: int) -> bytes:
        while len(self._buffer) < size:
            more = self.received.get()
            if not more:
                raise EOFError
            self._buffer += more
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def close(self) -> None:
        self._connection.send(b"CLSE", self.local_id, self.remote_id)
        self._connection.forget(self)

    def end(self) -> None:
        self._ended = True
        self.acknowledged.release()
        self.received.put(b"")
        self._connection.forget(self)


def _serve(stream: _Stream, service: str) -> None:
    name, _, argument = service.partition(":")
    stream.accept()
    with contextlib.suppress(EOFError):
        if name.startswith("shell"):
            _shell(stream, argument)
        elif name == "sync":
            _sync(stream)
    stream.close()


def _shell(stream: _Stream, line: str) -> None:
    stream.device.commands.append(line)
    process = stream.device.start_process(line)

    def pump(kind: int, source: int) -> None:
        while data := os.read(source, 65536):
            stream.write(_SHELL_PACKET.pack(kind, len(data)) + data)

    pumps = [
        threading.Thread(target=pump, args=(kind, pipe.fileno()), daemon=True)
        for kind, pipe in ((_STDOUT, process.stdout), (_STDERR, process.stderr))
    ]
    for thread in pumps:
        thread.start()
    for thread in pumps:
        thread.join()
    process.stdout.close()
    process.stderr.close()
    code = process.wait()
    code = code if code >= 0 else 128 - code
    stream.write(_SHELL_PACKET.pack(_EXIT, 1) + bytes([code]))
    time.sleep(0.01)


def _sync(stream: _Stream) -> None:
    while True:
        command, length = _SYNC_HEADER.unpack(stream.read(_SYNC_HEADER.size))
        argument = stream.read(length).decode()
        if command == b"QUIT":
            return
        if command in (b"STA2", b"LST2"):
            stream.write(_stat(command, Path(stream.device.local(argument))))
        elif command == b"SEND":
            _receive_file(stream, argument)
        elif command == b"RECV":
            _send_file(stream, Path(stream.device.local(argument)))


def _stat(command: bytes, path: Path) -> bytes:
    try:
        found = path.lstat()
    except OSError as error:
        return _STAT_V2.pack(command, error.errno, *[0] * 10)
    times = (int(found.st_atime), int(found.st_mtime), int(found.st_ctime))
    return _STAT_V2.pack(
        command, 0, found.st_dev, found.st_ino, found.st_mode, found.st_nlink, 0, 0,
        found.st_size, *times,
    )  # fmt: skip


def _receive_file(stream: _Stream, argument: str) -> None:
    remote, _, mode = argument.rpartition(",")
    content = b""
    while True:
        kind, length = _SYNC_HEADER.unpack(stream.read(_SYNC_HEADER.size))
        if kind == b"DONE":
            break
        content += stream.read(length)
    device = stream.device
    if device.push_failure is not None and len(content) > device.push_limit:
        _fail(stream, device.push_failure)
        return
    path = Path(device.local(remote))
    try:
        path.write_bytes(content)
        path.chmod(stat.S_IMODE(int(mode)))
    except OSError as error:
        _fail(stream, f"couldn't create file: {error.strerror}")
        return
    stream.write(_SYNC_HEADER.pack(b"OKAY", 0))


def _send_file(stream: _Stream, path: Path) -> None:
    try:
        content = path.read_bytes()
    except OSError as error:
        _fail(stream, f"open failed: {error.strerror}")
        return
    for start in range(0, len(content), 65536):
        part = content[start : start + 65536]
        stream.write(_SYNC_HEADER.pack(b"DATA", len(part)) + part)
    stream.write(_SYNC_HEADER.pack(b"DONE", 0))


def _fail(stream: _Stream, message: str) -> None:
    stream.write(_SYNC_HEADER.pack(b"FAIL", len(message.encode())) + message.encode())
