"""Watching a phone's temperature, so that a throttled run is not taken for a slow model.

Android 10 and newer tell a thermal status (`dumpsys thermalservice`): 0 none, 1 light, 2 moderate,
3 severe, 4 critical, 5 emergency, 6 shutdown. From light on, the phone slows its processors down.
An older phone tells the battery's temperature at least.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable

from absl import logging

from export.android.adb import AdbDevice
from keras_nas.settings import setting

_STATUS_NAMES = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
_STATUS = re.compile(r"^\s*Thermal Status: (\d+)", re.MULTILINE)
_TEMPERATURE = re.compile(r"Temperature\{mValue=(-?[\d.]+), mType=(-?\d+), mName=([^,}]*)")
_BATTERY = re.compile(r"^\s*temperature: (\d+)", re.MULTILINE)
_SKIN, _BATTERY_TYPE = 3, 2
_POLL_S = 5.0


@dataclasses.dataclass(frozen=True)
class Thermal:
    """What the phone tells; None where it tells nothing. Degrees Celsius.

    `skin_c` is the hottest sensor of the housing, or the battery where there is none.
    """

    status: int | None = None
    skin_c: float | None = None

    @property
    def is_throttled(self) -> bool:
        """Whether the phone slows itself down."""
        return bool(self.status)

    def __str__(self) -> str:
        if self.status is None:
            name = "unknown"
        else:
            name = _STATUS_NAMES[min(self.status, len(_STATUS_NAMES) - 1)]
        return f"thermal status {name}" + ("" if self.skin_c is None else f", {self.skin_c:g} °C")


@dataclasses.dataclass(frozen=True)
class CoolDown:
    """How long to wait before a run.

    Always `pause_s`; then, while the phone is throttled or its housing above `max_skin_c`, up to
    `limit_s` seconds more.
    """

    pause_s: float = setting(2.0, "Pause before each run.", name="cool_down_s")
    max_skin_c: float = setting(0.0, "Wait while the housing is hotter (degrees; 0: no limit).")
    limit_s: float = setting(180.0, "The longest wait for a hot phone.", name="cool_down_limit_s")

    def is_cool(self, thermal: Thermal) -> bool:
        """Whether a run may start."""
        hot = self.max_skin_c and (thermal.skin_c or 0.0) > self.max_skin_c
        return not (thermal.is_throttled or hot)


def read(device: AdbDevice) -> Thermal:
    """Reads the phone's thermal status and temperature."""
    dump = device.shell(["dumpsys", "thermalservice"]).stdout
    status = _STATUS.search(dump)
    now = (
        dump.partition("Current temperatures from HAL:")[2].partition("Current cooling")[0] or dump
    )
    sensors = [(int(k), name.lower(), float(v)) for v, k, name in _TEMPERATURE.findall(now)]
    sensors = [sensor for sensor in sensors if sensor[2] > 0]  # -99.9 stands for "no reading"
    skin = [value for kind, name, value in sensors if kind == _SKIN or "skin" in name]
    battery = [value for kind, _, value in sensors if kind == _BATTERY_TYPE]
    if not skin and not battery:
        tenths = _BATTERY.search(device.shell(["dumpsys", "battery"]).stdout)
        battery = [int(tenths[1]) / 10] if tenths else []
    return Thermal(int(status[1]) if status else None, max(skin or battery, default=None))


def cool_down(
    device: AdbDevice, rule: CoolDown, sleep: Callable[[float], None] = time.sleep
) -> Thermal:
    """Waits as `rule` says and returns the phone's state at the end; it may still be hot."""
    sleep(rule.pause_s)
    waited = 0.0
    thermal = read(device)
    while not rule.is_cool(thermal) and waited < rule.limit_s:
        logging.info("Waiting for %s to cool down: %s.", device.serial, thermal)
        pause = min(_POLL_S, rule.limit_s - waited)
        sleep(pause)
        waited += pause
        thermal = read(device)
    return thermal
