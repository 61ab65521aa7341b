"""What it costs a device to bring channels together at joins: the table that surgery weighs by."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from typing import Any

from keras_nas.errors import UsageError
from keras_nas.files import atomic_write_text
from keras_nas.json_files import exactly, read_json

KERNELS = ("conv", "pointwise", "depthwise", "dense")
"""Kinds of kernels that have a price a multiply-add."""
SCHEMA_VERSION = 1


@dataclasses.dataclass(frozen=True)
class AlignPrices:
    """Nanoseconds of what surgery may write where channels meet; the default is an x86 core's.

    The defaults are medians of interleaved runs on one x86-64 core (AVX2), LiteRT 2.3.0 with
    XNNPACK, float32, one thread. A gather along the channels moves single floats, is not among
    XNNPACK's operations and so cuts its graph in two. Pads and slices are, and copy whole rows.
    Kernels were timed at widths that fill their tiles; between these a row more costs nothing until
    the next tile begins. No phone has been measured: the tiles of 8 are those of XNNPACK's NEON
    kernels too, the ratio of a moved element to a multiply-add differs from device to device.

    Attributes:
        gather: Of an element that a gather writes.
        pad, slice: Of an element that a pad (a slice) writes.
        partition: Of one more partition of the delegate, which every gather makes.
        elementwise: Of an element that a pooling, an activation or a sum writes.
        conv: Of a multiply-add of a convolution with a window.
        pointwise: Of one of a 1×1 convolution, or a Dense layer at several positions.
        depthwise: Of one of a depthwise convolution.
        dense: Of one of a Dense layer at one position.
        tile: Output channels that a kernel computes at once: it takes as long for fewer.
        source: What was measured, and on what.
    """

    gather: float = 4.2
    pad: float = 0.5
    slice: float = 0.5
    partition: float = 240.0
    elementwise: float = 0.19
    conv: float = 0.075
    pointwise: float = 0.07
    depthwise: float = 0.14
    dense: float = 0.25
    tile: int = 8
    source: str = "an x86-64 core with AVX2, LiteRT 2.3.0 with XNNPACK, float32, one thread"

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name != "source" and not (0 <= value < math.inf):
                raise UsageError(
                    f"`{field.name}` must be a number of nanoseconds, 0 or more. "
                    f"Received: {field.name}={value!r}"
                )
        if self.tile != int(self.tile) or self.tile < 1:
            raise UsageError(
                f"`tile` must be a whole number, 1 or more. Received: tile={self.tile}"
            )

    def of(self, kind: str) -> float:
        """The price of a multiply-add of a kernel, or of an element otherwise, by its kind."""
        return float(getattr(self, kind))

    def width(self, channels: int) -> int:
        """The output channels that a kernel takes the time of: the next multiple of `tile`."""
        return -(-channels // self.tile) * self.tile

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the table as JSON, at once or not at all."""
        content = {"schema_version": SCHEMA_VERSION, **dataclasses.asdict(self)}
        atomic_write_text(path, json.dumps(content, indent=1) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> AlignPrices:
        """Reads a table that `save` wrote.

        Raises:
            KerasNasError: The file cannot be read, or is no such table.
        """
        content = read_json(path, JSON_SCHEMA, "table of align prices")
        del content["schema_version"]
        return cls(**content)


_NUMBER: dict[str, Any] = {"type": "number", "minimum": 0}
JSON_SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "keras_nas align prices",
    **exactly(
        schema_version={"const": SCHEMA_VERSION},
        **dict.fromkeys(("gather", "pad", "slice", "partition", "elementwise"), _NUMBER),
        **dict.fromkeys(KERNELS, _NUMBER),
        tile={"type": "integer", "minimum": 1},
        source={"type": "string"},
    ),
}
