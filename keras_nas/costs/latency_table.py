"""Measured latencies of single operations, and what they predict for a whole model."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
from absl import logging

from keras_nas.costs.latency_condition import (
    DTYPES,
    IMAGE_CHANNELS,
    MOVES,
    OPERATIONS,
    Condition,
)
from keras_nas.costs.latency_fit import TILES, Fit, Point, fit
from keras_nas.costs.latency_operations import TimedOperation, timed_operations
from keras_nas.costs.table_prices import assumed_fit
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.files import atomic_write_text
from keras_nas.graph import Graph, read
from keras_nas.json_files import check_json, exactly, read_json, with_optional

SCHEMA_VERSION = 1
_TILED = ("conv", "depthwise_conv", "dense")


class LatencyTable:
    """One device's times by condition, each with its affine fit ms = a · flops + b.

    Kernels compute several output channels at once: where the points show it, the flops are those
    of the next multiple, and what is read or written in parts of a vector costs extra
    (`Condition.ends`). A convolution that reads an image has a fit of its own.

    Example:

    ```python
    table = keras_nas.costs.LatencyTable.load("phone.json")
    table.predict(model)              # milliseconds, the sum over the model's operations
    fit = table.fit(condition)        # fit.slope, fit.intercept
    ```

    Args:
        device: What was measured on, e.g. "Google Pixel 8".
        runtime: With what, e.g. "ai_edge_litert 2.3.0 xnnpack".
        points: The measured points of each condition.
        calibration: What every fit's times are multiplied by in predictions: the measured time of
            a whole network over the sum of its operations' fits; 1 where none was measured.

    Raises:
        KerasNasError: A condition has no point, or a point or `calibration` is not above 0.

    References:
        FGNAS (Kim et al.), "Latency": per condition of operation, input size, kernel, stride and
        groups the measured latency is fitted by a linear function of the FLOPs.
    """

    def __init__(
        self,
        device: str,
        runtime: str,
        points: Mapping[Condition, Iterable[Point]],
        calibration: float = 1.0,
    ) -> None:
        if not calibration > 0:
            raise UsageError(f"`calibration` must be above 0. Received: {calibration}")
        self.device = device
        self.runtime = runtime
        self.calibration = calibration
        self.points = {condition: tuple(points[condition]) for condition in sorted(points)}
        self.fits: dict[Condition, Fit] = {}
        self.image_fits: dict[Condition, Fit] = {}
        for condition, found in self.points.items():
            images, others = _by_input(condition, found)
            self.fits[condition] = _fit(condition, others or images)
            if images and others:
                self.image_fits[condition] = _fit(condition, images)

    def fit(
        self, condition: Condition, interpolate: bool = False, in_channels: int | None = None
    ) -> Fit:
        """Returns the fit of a condition, calibrated.

        `fits` has the lines through the points, `image_fits` those of a condition's images where
        there are both.

        For what surgery writes at joins (gathers, slices, pads of channels, partitions) that of
        another size always stands in, and where the table has none, the default of `AlignPrices` by
        its ratio to the kernels that were measured.

        Args:
            condition: The condition.
            interpolate: Whether the fit of the nearest condition of the same operation, dtype and
                thread count may stand in; which one is said in the log.
            in_channels: Of the operation; up to `IMAGE_CHANNELS` are an image.

        Raises:
            KerasNasError: The condition was not measured, nor, with `interpolate`, any other one
                of its operation, dtype and threads.
        """
        if condition in self.fits:
            image = in_channels is not None and in_channels <= IMAGE_CHANNELS
            fits = self.image_fits if image and condition in self.image_fits else self.fits
            return fits[condition].times(self.calibration)
        alike = [known for known in self.fits if _key(known) == _key(condition)]
        nearest = min(
            alike, key=lambda known: (_distance(known, condition), known), default=condition
        )
        if condition.operation in MOVES and condition.kernel == (1, 1):
            found = self.fits[nearest] if alike else assumed_fit(self, condition)
            return found.times(self.calibration)
        if interpolate and alike:
            logging.log_first_n(
                logging.WARNING, "No latency was measured for %s: taking that of %s.", 100,
                condition, nearest,
            )  # fmt: skip
            return self.fits[nearest].times(self.calibration)
        advice = (
            "profile a model that has it"
            if interpolate or not alike
            else "profile a model that has it, or allow `interpolate` (--interpolate)"
        )
        raise KerasNasError(
            f"The latency table of {self.device} ({self.runtime}) has no {condition}: {advice}."
        )

    def named_fits(self) -> list[tuple[str, Sequence[Point], Fit]]:
        """Each fit, uncalibrated, with its condition in words and the points that it is of."""
        named: list[tuple[str, Sequence[Point], Fit]] = []
        for condition, found in self.points.items():
            images, others = _by_input(condition, found)
            named.append((str(condition), others or images, self.fits[condition]))
            if condition in self.image_fits:
                named.append((f"{condition}, image", images, self.image_fits[condition]))
        return named

    def calibrated(self, model: keras.Model | Graph, measured_ms: float) -> LatencyTable:
        """Returns the table that predicts for a network, in float32 on one thread, what it took.

        Args:
            model: The network, as in `predict`.
            measured_ms: The time of its .tflite on the table's device.

        Raises:
            KerasNasError: As `predict`, or the time is not above 0.
        """
        plain = LatencyTable(self.device, self.runtime, self.points)
        return LatencyTable(
            self.device, self.runtime, self.points, measured_ms / plain.predict(model)
        )

    def milliseconds(self, operation: TimedOperation, interpolate: bool = False) -> float:
        """Returns the predicted time of one operation; raises as `fit`."""
        found = self.fit(operation.condition, interpolate, operation.in_channels)
        return found(operation.flops, operation.out_channels, operation.ends(found.tile))

    def predict(
        self,
        model: keras.Model | Graph,
        dtype: str = "float32",
        threads: int = 1,
        interpolate: bool = False,
    ) -> float:
        """Returns the milliseconds of a model's .tflite at batch 1: the sum over its operations.

        Args:
            model: A functional model with known sizes, or its graph.
            dtype: Of weights and activations in the .tflite: "float32" or "int8".
            threads: The runtime's number of threads.
            interpolate: As in `fit`.

        Raises:
            KerasNasError: As `fit`, or an operation of the model cannot be predicted at all.
        """
        return math.fsum(self.by_layer(model, dtype, threads, interpolate).values())

    def by_layer(
        self,
        model: keras.Model | Graph,
        dtype: str = "float32",
        threads: int = 1,
        interpolate: bool = False,
    ) -> dict[str, float]:
        """Returns the milliseconds of each node that costs some; arguments as in `predict`."""
        graph = model if isinstance(model, Graph) else read(model)
        times: dict[str, float] = {}
        for operation in timed_operations(graph, dtype, threads):
            milliseconds = self.milliseconds(operation, interpolate)
            times[operation.name] = times.get(operation.name, 0.0) + milliseconds
        return times

    def to_dict(self) -> dict[str, Any]:
        """Returns the table as plain JSON types."""
        return {
            "schema_version": SCHEMA_VERSION,
            "device": self.device,
            "runtime": self.runtime,
            "calibration": self.calibration,
            "conditions": [self._entry(condition) for condition in self.fits],
        }

    def _entry(self, condition: Condition) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "condition": _plain(condition),
            "points": [dataclasses.asdict(point) for point in self.points[condition]],
            "fit": dataclasses.asdict(self.fits[condition]),
        }
        if condition in self.image_fits:
            entry["image_fit"] = dataclasses.asdict(self.image_fits[condition])
        return entry

    @classmethod
    def from_dict(cls, content: Any) -> LatencyTable:
        """Builds a table from what `to_dict` returned; the fits are made anew from the points.

        Raises:
            KerasNasError: `content` is no latency table of this schema.
        """
        check_json(content, JSON_SCHEMA, "latency table")
        return cls._from(content)

    @classmethod
    def _from(cls, content: dict[str, Any]) -> LatencyTable:
        return cls(
            content["device"],
            content["runtime"],
            {
                condition_from_dict(entry["condition"]): [Point(**p) for p in entry["points"]]
                for entry in content["conditions"]
            },
            content.get("calibration", 1.0),
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the table as JSON, at once or not at all."""
        atomic_write_text(path, json.dumps(self.to_dict(), indent=1) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> LatencyTable:
        """Reads a table that `save` wrote.

        Raises:
            KerasNasError: The file cannot be read or is no latency table.
        """
        return cls._from(read_json(path, JSON_SCHEMA, "latency table"))


def condition_from_dict(content: Mapping[str, Any]) -> Condition:
    """Builds a condition from its JSON form."""
    pairs = {name: tuple(content[name]) for name in ("kernel", "stride")}
    return Condition(**{**content, **pairs})


def _by_input(condition: Condition, points: Sequence[Point]) -> tuple[list[Point], list[Point]]:
    """The points of convolutions that read an image, and the others."""
    most = IMAGE_CHANNELS if condition.operation == "conv" else 0
    return (
        [point for point in points if point.in_channels <= most],
        [point for point in points if point.in_channels > most],
    )


def _fit(condition: Condition, points: Sequence[Point]) -> Fit:
    if condition.operation not in _TILED:
        return fit(points)

    def ends(point: Point, tile: int) -> int:
        return condition.ends(point.in_channels, point.out_channels, tile)

    return fit(points, TILES, ends)


def _plain(condition: Condition) -> dict[str, Any]:
    content = dataclasses.asdict(condition)
    return {**content, "kernel": list(condition.kernel), "stride": list(condition.stride)}


def _key(condition: Condition) -> tuple[str, str, int]:
    return condition.operation, condition.dtype, condition.threads


def _distance(one: Condition, other: Condition) -> float:
    """How unlike two conditions are: by the logarithms of their sizes, the window before the area.

    A doubled kernel, stride or number of groups weighs as much as a four times larger image,
    since the time a flop depends on the first far more.
    """
    area = abs(math.log2((one.height * one.width) / (other.height * other.width)))
    windows = zip(
        (*one.kernel, *one.stride, one.groups),
        (*other.kernel, *other.stride, other.groups),
        strict=True,
    )
    window = sum(abs(math.log2(a / b)) for a, b in windows)
    return area + 2 * window + 0.5 * (one.padding != other.padding)


_COUNT = {"type": "integer", "minimum": 1}
_NUMBER = {"type": "number", "minimum": 0}
_ABOVE_0 = {"type": "number", "exclusiveMinimum": 0}
_PAIR = {"type": "array", "items": _COUNT, "minItems": 2, "maxItems": 2}
_FIT = with_optional(
    exactly(slope=_NUMBER, intercept=_NUMBER, points=_COUNT, rms_ms=_NUMBER, worst=_NUMBER),
    tile=_COUNT,
    end=_NUMBER,
)

JSON_SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "keras_nas latency table",
    **with_optional(
        exactly(
            schema_version={"const": SCHEMA_VERSION},
            device={"type": "string"},
            runtime={"type": "string"},
            conditions={
                "type": "array",
                "items": with_optional(
                    exactly(
                        condition=exactly(
                            operation={"enum": list(OPERATIONS)},
                            height=_COUNT,
                            width=_COUNT,
                            kernel=_PAIR,
                            stride=_PAIR,
                            groups=_COUNT,
                            padding={"enum": ["same", "valid"]},
                            dtype={"enum": list(DTYPES)},
                            threads=_COUNT,
                        ),
                        points={
                            "type": "array",
                            "minItems": 1,
                            "items": exactly(
                                in_channels=_COUNT,
                                out_channels=_COUNT,
                                flops=_COUNT,
                                ms=_ABOVE_0,
                            ),
                        },
                        fit=_FIT,
                    ),
                    image_fit=_FIT,
                ),
            },
        ),
        calibration=_ABOVE_0,
    ),
}
