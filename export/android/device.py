"""What a phone is, and whether a program was built for it."""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path

from export.android.adb import AdbDevice, AdbError
from export.benchmark_schema import Device

_PROPERTY = re.compile(r"^\[([^\]]+)\]: \[(.*)\]\s*$", re.MULTILINE)
_ELF_ABIS = {
    (1, 3): "x86",
    (1, 40): "armeabi-v7a",
    (2, 62): "x86_64",
    (2, 183): "arm64-v8a",
    (2, 243): "riscv64",
}


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
