"""Which phone is meant, what it is, and whether a program was built for it."""

from __future__ import annotations

import hashlib
import os
import re
import struct
from pathlib import Path

from absl import logging

from export.android.adb import Adb, AdbDevice, AdbError
from export.android.benchmark_config import AndroidBenchmarkConfig
from export.benchmark_schema import Device
from keras_nas.errors import UsageError

_PROPERTY = re.compile(r"^\[([^\]]+)\]: \[(.*)\]\s*$", re.MULTILINE)
_ELF_ABIS = {
    (1, 3): "x86",
    (1, 40): "armeabi-v7a",
    (2, 62): "x86_64",
    (2, 183): "arm64-v8a",
    (2, 243): "riscv64",
}


def check_binary(config: AndroidBenchmarkConfig) -> str:
    """Looks at the program that is to run on the phone.

    Returns:
        Its SHA-256.

    Raises:
        UsageError: None is given, it is no file, or its hash is not the expected one.
        AdbError: It is no program for Android.
    """
    config.check_binary()
    if not Path(config.binary).is_file():
        raise UsageError(f"`binary` must be a file. Received: binary={config.binary!r}")
    found = hashlib.sha256(Path(config.binary).read_bytes()).hexdigest()
    if config.sha256 and config.sha256.lower() != found:
        raise UsageError(
            f"`binary` must have the SHA-256 {config.sha256}. "
            f"Received: {config.binary!r} with {found}"
        )
    if program_abi(config.binary) is None:
        logging.warning("%s is a script: its ABI is not checked.", config.binary)
    return found


def attached(config: AndroidBenchmarkConfig) -> tuple[AdbDevice, Device]:
    """Finds the phone that is meant, and what it is.

    Raises:
        AdbError: There is no adb, no usable device, several and none is named, or the program was
            built for another ABI.
    """
    device = Adb(config.adb, config.adb_server_port or None).open(config.serial)
    known = properties(device)
    check_abi(config.binary, device, known)
    return device, describe(device, known)


def properties(device: AdbDevice) -> dict[str, str]:
    """Returns the device's system properties (`getprop`), control characters taken out."""
    listing = device.check_shell(["getprop"])
    return {
        key: "".join(c for c in value if c.isprintable())
        for key, value in _PROPERTY.findall(listing)
    }


def describe(device: AdbDevice, known: dict[str, str]) -> Device:
    """Returns the device's name, ABI, Android version and number of processors.

    Args:
        device: The device.
        known: Its `properties`.
    """
    maker = known.get("ro.product.manufacturer", "")
    model = known.get("ro.product.model", "unknown")
    release = known.get("ro.build.version.release", "unknown")
    return Device(
        kind="android",
        name=model if model.lower().startswith(maker.lower()) else f"{maker} {model}",
        abi=known.get("ro.product.cpu.abi", "unknown"),
        os=f"Android {release} (API {known.get('ro.build.version.sdk', 'unknown')})",
        cpu_count=_cpu_count(device),
        serial=device.serial,
    )


def program_abi(path: str | os.PathLike[str]) -> str | None:
    """Returns the Android ABI that a program was built for; None for a script (`#!`).

    Raises:
        AdbError: The file is neither a script nor an ELF program of an ABI of Android.
    """
    head = Path(path).read_bytes()[:20]
    if head.startswith(b"#!"):
        return None
    if len(head) < 20 or not head.startswith(b"\x7fELF"):
        raise AdbError(f"{str(path)!r} is no program for Android (it has no ELF header).")
    machine = struct.unpack_from("<H" if head[5] == 1 else ">H", head, 18)[0]
    abi = _ELF_ABIS.get((head[4], machine))
    if abi is None:
        raise AdbError(
            f"{str(path)!r} is built for ELF machine {machine}, which is no ABI of Android: "
            f"{', '.join(_ELF_ABIS.values())}."
        )
    return abi


def check_abi(path: str | os.PathLike[str], device: AdbDevice, known: dict[str, str]) -> None:
    """Checks that `device`, of the `properties` `known`, can run a program; a script passes.

    Raises:
        AdbError: The program's ABI is none of the device's.
    """
    needed = program_abi(path)
    offered = known.get("ro.product.cpu.abilist") or known.get("ro.product.cpu.abi", "")
    if needed is not None and needed not in offered.split(","):
        raise AdbError(
            f"{str(path)!r} is built for {needed}, but the device {device.serial} runs {offered}: "
            "get the `benchmark_model` for one of these."
        )


def _cpu_count(device: AdbDevice) -> int | None:
    listing = device.shell(["cat", "/sys/devices/system/cpu/possible"]).stdout.strip()
    parts = [part.split("-") for part in listing.split(",") if part]
    if not parts or not all(number.isdigit() for part in parts for number in part):
        return None
    return sum(int(part[-1]) - int(part[0]) + 1 for part in parts)
