"""The file of measured points: each is on the disk as soon as it is measured."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from export.latency.grid import GridPoint
from keras_nas.costs.latency_fit import Point
from keras_nas.costs.latency_table import LatencyTable, condition_from_dict
from keras_nas.errors import KerasNasError


class LatencyPoints:
    """A growing file: a line about the device, then a line of JSON for each point.

    A run that was cut short left at most a torn last line; it is taken off when the file is opened
    again, and the points before it need not be measured again.

    Args:
        path: The file; made if it does not exist.
        device, runtime: What is measured with. A file of another one is not continued.

    Raises:
        KerasNasError: The file belongs to another device or runtime, or is no file of points.
    """

    def __init__(self, path: str | os.PathLike[str], device: str, runtime: str) -> None:
        self._path = Path(path)
        self._about = {"device": device, "runtime": runtime}
        self._measured: dict[GridPoint, float] = {}
        if self._path.exists() and self._path.stat().st_size:
            self._read()
        else:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._append([self._about])

    def __contains__(self, point: GridPoint) -> bool:
        return point in self._measured

    def __len__(self) -> int:
        return len(self._measured)

    def add(self, times: Iterable[tuple[GridPoint, float]]) -> None:
        """Appends points with their milliseconds; when this returns they are on the disk."""
        times = list(times)
        self._append([{**dataclasses.asdict(point), "ms": ms} for point, ms in times])
        self._measured.update(times)

    def table(self) -> LatencyTable:
        """Returns the table of all points."""
        points: dict[Any, list[Point]] = {}
        for point, ms in sorted(self._measured.items()):
            entry = Point(point.in_channels, point.out_channels, point.flops, ms)
            points.setdefault(point.condition, []).append(entry)
        return LatencyTable(self._about["device"], self._about["runtime"], points)

    def _append(self, records: list[dict[str, Any]]) -> None:
        content = "".join(f"{json.dumps(record)}\n" for record in records).encode()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            os.write(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _read(self) -> None:
        content = self._path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        try:
            about, *records = [json.loads(line) for line in whole.splitlines()]
            for record in records:
                ms = record.pop("ms")
                condition = condition_from_dict(record.pop("condition"))
                self._measured[GridPoint(condition, **record)] = ms
        except (ValueError, KeyError, TypeError) as error:
            raise KerasNasError(f"{self._path} is no file of latency points: {error}") from error
        if about != self._about:
            raise KerasNasError(
                f"{self._path} holds points of {about}, and not of {self._about}: choose another "
                "file for these, or remove it."
            )
        if len(whole) < len(content):
            os.truncate(self._path, len(whole))
