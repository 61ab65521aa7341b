"""A private folder on a phone and the program that runs from it; nothing of either stays."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Sequence

from absl import logging

from export.android.adb import AdbDevice, AdbError

_PARENT = "/data/local/tmp"
_PREFIX = "keras_nas-"
_STALE_MINUTES = 24 * 60


@contextlib.contextmanager
def private_folder(device: AdbDevice) -> Iterator[str]:
    """Gives a private folder on the device and takes it away with all that runs from it."""
    device.shell(
        ["find", _PARENT, "-maxdepth", "1", "-name", f"{_PREFIX}*",
         "-mmin", f"+{_STALE_MINUTES}", "-exec", "rm", "-rf", "{}", "+"]
    )  # fmt: skip
    folder = f"{_PARENT}/{_PREFIX}{secrets.token_hex(8)}"
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
