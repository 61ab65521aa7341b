"""Talking to an Android device through the `adb` program; a private folder on it.

Every command travels as a list. Nothing is given to a shell of this host; the device's own shell,
which `adb shell` always starts, gets one line in which every word is quoted.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import secrets
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import logging

from keras_nas.errors import KerasNasError

_STATE_TIMEOUT_S = 20.0
_END_MARK = "keras_nas:exit"
_DEVICE_LINE = re.compile(r"^(\S+)\s+(no permissions\b.*?|\S+)((?:\s+[\w.]+:\S+)*)\s*$")
_ADVICE = {
    "unauthorized": "unlock it and accept the question 'Allow USB debugging?'",
    "offline": "plug it in again, or run `adb reconnect offline`",
    "no permissions": "give your user the right to USB devices (on Linux: udev rules)",
    "recovery": "restart it into Android",
    "sideload": "restart it into Android",
    "bootloader": "restart it into Android",
}
_FOLDER_PARENT = "/data/local/tmp"
_FOLDER_PREFIX = "keras_nas-"
_STALE_MINUTES = 24 * 60


class AdbError(KerasNasError):
    """Something between this host and the device went wrong; the message says what to do."""


class DeviceLostError(AdbError):
    """The device answered before and does no more (unplugged, restarted, gone offline)."""


class DeviceFullError(AdbError):
    """The device's storage has no room for a file."""


class AdbTimeoutError(AdbError):
    """A command on the device did not end in time."""


@dataclasses.dataclass(frozen=True)
class AttachedDevice:
    """A line of `adb devices -l`; `state` is "device" when it may be used."""

    serial: str
    state: str
    model: str = ""

    def __str__(self) -> str:
        return f"{self.serial} ({self.model or 'unknown model'}, {self.state})"


@dataclasses.dataclass(frozen=True)
class ShellResult:
    """What a command on the device printed, and its exit code."""

    stdout: str
    stderr: str
    returncode: int

    @property
    def output(self) -> str:
        """Standard output and then standard error."""
        return self.stdout + self.stderr


class Adb:
    """The adb program on this host.

    Example:
        device = Adb().open(serial=None)
        device.shell(["getprop", "ro.product.model"]).stdout

    Args:
        program: Name or path of the program.
        server_port: Port of the adb server; None leaves adb's own default (5037, or
            ANDROID_ADB_SERVER_PORT of the environment).

    Raises:
        AdbError: `program` is not found.
    """

    def __init__(self, program: str = "adb", server_port: int | None = None) -> None:
        path = shutil.which(program)
        if path is None:
            raise AdbError(
                f"The program {program!r} is not found: install adb (Debian, Ubuntu: apt-get "
                "install adb; elsewhere: Android SDK Platform-Tools) or give its path."
            )
        self._argv = [path] + ([] if server_port is None else ["-P", str(server_port)])

    def run(
        self, arguments: Sequence[str], timeout_s: float = _STATE_TIMEOUT_S
    ) -> subprocess.CompletedProcess[str]:
        """Runs adb with `arguments` and returns what it printed, whatever its exit code.

        Raises:
            AdbTimeoutError: Adb did not end within `timeout_s` seconds.
        """
        try:
            return subprocess.run(
                [*self._argv, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise AdbTimeoutError(
                f"`adb {arguments[0]}` did not end within {timeout_s:g} s."
            ) from error

    def devices(self) -> list[AttachedDevice]:
        """Returns the attached devices in any state.

        Raises:
            AdbError: The adb server does not start.
        """
        listing = self.run(["devices", "-l"])
        if listing.returncode:
            raise AdbError(f"`adb devices` failed: {_reason(listing.stderr)}")
        lines = listing.stdout.partition("List of devices attached")[2].splitlines()
        found = (_DEVICE_LINE.match(line) for line in lines)
        return [_attached(match) for match in found if match]

    def open(self, serial: str | None = None) -> AdbDevice:
        """Returns the device with `serial`, or the only one there is.

        Without `serial` the environment's ANDROID_SERIAL counts, as for adb itself.

        Raises:
            AdbError: No device, several and no serial, none with this serial, or one that is
                offline, unauthorised or too old (before Android 7).
        """
        chosen = _choose(self.devices(), serial or os.environ.get("ANDROID_SERIAL") or None)
        if chosen.state != "device":
            state = "unauthorized" if chosen.state == "authorizing" else chosen.state
            advice = next((a for s, a in _ADVICE.items() if state.startswith(s)), "")
            raise AdbError(
                f"The device {chosen.serial} is {state}" + (f": {advice}." if advice else ".")
            )
        features = self.run(["-s", chosen.serial, "features"])
        if features.returncode == 0 and "shell_v2" not in features.stdout.split():
            raise AdbError(
                f"The device {chosen.serial} tells no exit codes (adb feature shell_v2): Android 7 "
                "or newer is needed."
            )
        return AdbDevice(self, chosen.serial)


class AdbDevice:
    """One device, by its serial number. Made by `Adb.open`."""

    def __init__(self, adb: Adb, serial: str) -> None:
        self.serial = serial
        self._adb = adb

    def is_ready(self) -> bool:
        """Tells whether the device is attached and answers."""
        try:
            state = self._adb.run(["-s", self.serial, "get-state"])
        except AdbTimeoutError:
            return False
        return state.returncode == 0 and state.stdout.strip() == "device"

    def shell(self, command: Sequence[str], timeout_s: float = _STATE_TIMEOUT_S) -> ShellResult:
        """Runs `command` on the device and returns its output, whatever its exit code.

        Every word of `command` reaches the program as it stands: nothing in it is run or expanded
        by the device's shell. The line's end prints a mark, since a lost device would otherwise
        look like a command that printed nothing and succeeded.

        Raises:
            DeviceLostError: The device went away meanwhile.
            AdbTimeoutError: It did not end within `timeout_s`; it may still run on the device.
        """
        line = f"{quote(command)}; printf '\\n%s %s' {_END_MARK} $?"
        done = self._run(["shell", "-T", "-n", line], timeout_s)
        stdout, found, code = done.stdout.rpartition(f"\n{_END_MARK} ")
        if not found or not code.strip().isdigit():  # adb itself ends with 0 when the link breaks
            raise _lost(self.serial)
        return ShellResult(stdout, done.stderr, int(code))

    def check_shell(self, command: Sequence[str], timeout_s: float = _STATE_TIMEOUT_S) -> str:
        """Runs `command` and returns its standard output.

        Raises:
            AdbError: Its exit code is not 0, or as `shell`.
        """
        result = self.shell(command, timeout_s)
        if result.returncode:
            raise AdbError(
                f"`{quote(command)}` failed on {self.serial} (exit code {result.returncode}): "
                f"{_reason(result.stderr or result.stdout)}"
            )
        return result.stdout

    def push(self, local: str | os.PathLike[str], remote: str, timeout_s: float) -> None:
        """Copies the file `local` to the path `remote` of the device.

        Raises:
            DeviceFullError: The device has no room for it.
            AdbError: It failed for another reason.
            DeviceLostError: The device went away meanwhile.
            AdbTimeoutError: It did not end within `timeout_s` seconds.
        """
        done = self._run(["push", str(Path(local).absolute()), remote], timeout_s)
        if done.returncode:
            reason = _reason(done.stderr + done.stdout)
            if "no space left" in reason.lower():
                raise DeviceFullError(
                    f"The device {self.serial} has no room for {str(local)!r} "
                    f"({Path(local).stat().st_size} bytes) in {remote}: free some storage."
                )
            raise AdbError(f"Pushing {str(local)!r} to {self.serial} failed: {reason}")

    def pull(self, remote: str, local: str | os.PathLike[str], timeout_s: float) -> None:
        """Copies the file `remote` of the device to the path `local`.

        Raises:
            AdbError: It failed, or as `push`.
        """
        done = self._run(["pull", remote, str(Path(local).absolute())], timeout_s)
        if done.returncode:
            raise AdbError(
                f"Pulling {remote} from {self.serial} failed: {_reason(done.stderr + done.stdout)}"
            )

    def _run(self, arguments: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
        try:
            done = self._adb.run(["-s", self.serial, *arguments], timeout_s)
        except AdbTimeoutError as error:
            if self.is_ready():
                raise AdbTimeoutError(
                    f"`adb {arguments[0]}` on {self.serial} did not end within {timeout_s:g} s."
                ) from error
            raise _lost(self.serial) from error
        if done.returncode and not self.is_ready():
            raise _lost(self.serial)
        return done


@contextlib.contextmanager
def private_folder(device: AdbDevice) -> Iterator[str]:
    """Gives a private folder on the device and takes it away with all that runs from it."""
    device.shell(
        ["find", _FOLDER_PARENT, "-maxdepth", "1", "-name", f"{_FOLDER_PREFIX}*",
         "-mmin", f"+{_STALE_MINUTES}", "-exec", "rm", "-rf", "{}", "+"]
    )  # fmt: skip
    folder = f"{_FOLDER_PARENT}/{_FOLDER_PREFIX}{secrets.token_hex(8)}"
    try:
        device.check_shell(["mkdir", "-m", "700", folder])
        yield folder
    finally:
        try:
            kill(device, folder)
            device.check_shell(["rm", "-rf", folder])
        except AdbError as error:
            logging.warning(
                "The folder %s may be left on the device (%s); the next run removes it after a "
                "day.", folder, error
            )  # fmt: skip


def with_pid_file(command: Sequence[str], folder: str) -> list[str]:
    """Returns `command` made to write its process id to a file before it starts."""
    return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', f"{folder}/pid", *command]


def kill(device: AdbDevice, folder: str) -> None:
    """Ends the program that `with_pid_file` started, where it still runs."""
    script = 'test ! -f "$0" || kill -9 "$(cat "$0")" 2> /dev/null; rm -f "$0"'
    device.shell(["sh", "-c", script, f"{folder}/pid"])


def quote(command: Sequence[str]) -> str:
    """Returns one line that a POSIX shell splits into exactly the words of `command`.

    Raises:
        AdbError: A word holds a zero byte, which no program can be given.
    """
    if any("\0" in word for word in command):
        raise AdbError(f"A word for the device must hold no zero byte. Received: {list(command)!r}")
    return shlex.join(command)


def _choose(attached: Sequence[AttachedDevice], serial: str | None) -> AttachedDevice:
    names = ", ".join(str(device) for device in attached)
    if not attached:
        raise AdbError(
            "No Android device is attached: plug one in, turn on USB debugging in its developer "
            "options and see that `adb devices` lists it."
        )
    if serial is None:
        if len(attached) > 1:
            raise AdbError(f"Several devices are attached; choose one by --serial: {names}.")
        return attached[0]
    chosen = [device for device in attached if device.serial == serial]
    if not chosen:
        raise AdbError(f"No attached device has the serial {serial!r}. Attached: {names}.")
    return chosen[0]


def _attached(match: re.Match[str]) -> AttachedDevice:
    serial, state, properties = match.groups()
    fields = dict(field.split(":", 1) for field in properties.split())
    return AttachedDevice(serial, state, fields.get("model", "").replace("_", " "))


def _lost(serial: str) -> DeviceLostError:
    return DeviceLostError(
        f"The device {serial} went away (unplugged, restarted or offline): plug it in and run "
        "again."
    )


def _reason(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines if line.startswith(("adb: error:", "error:"))]
    return (told or lines or ["no message"])[-1]
