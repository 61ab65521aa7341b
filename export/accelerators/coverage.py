"""How much of a .tflite an accelerator takes: the form of the answer, and how it is said."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

NAMES = {"xnnpack": "XNNPACK", "gpu": "the GPU delegate", "nnapi": "NNAPI"}


@dataclasses.dataclass(frozen=True)
class Left:
    """Nodes that stay with the runtime's own kernels.

    Attributes:
        operation: Their name, e.g. "GATHER".
        count: How many they are.
        reason: Why the accelerator leaves them; empty where it does not say.
    """

    operation: str
    count: int
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.operation} ×{self.count}" + (f" ({self.reason})" if self.reason else "")


@dataclasses.dataclass(frozen=True)
class Coverage:
    """What one accelerator takes of one file.

    Attributes:
        accelerator: A key of `NAMES`.
        source: Whence that is known: the runtime with its version, a list, a phone's log.
        nodes: How many nodes the file's main graph has.
        taken: How many of them the accelerator takes.
        partitions: In how many parts; between two parts values go through memory. None where the
            source does not say.
        left: What it leaves; empty where the source does not say.
    """

    accelerator: str
    source: str
    nodes: int
    taken: int
    partitions: int | None
    left: list[Left] = dataclasses.field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether all of the file runs there, in one piece."""
        return self.taken == self.nodes and self.partitions == 1

    @property
    def short(self) -> str:
        """For a table: "whole", or "61/64 in 2" for nodes and partitions."""
        if self.is_whole:
            return "whole"
        parts = "?" if self.partitions is None else str(self.partitions)
        return f"{self.taken}/{self.nodes} in {parts}"

    def __str__(self) -> str:
        """As in "XNNPACK takes 61 of 64 nodes in 2 partitions; left: GATHER ×2"."""
        name = NAMES[self.accelerator]
        name = name[0].upper() + name[1:]
        if self.is_whole:
            return f"{name} takes all {self.nodes} nodes in 1 partition"
        plural = "" if self.partitions == 1 else "s"
        parts = "" if self.partitions is None else f" in {self.partitions} partition{plural}"
        left = f"; left: {', '.join(map(str, self.left))}" if self.left else ""
        return f"{name} takes {self.taken} of {self.nodes} nodes{parts}{left}"

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Coverage:
        """Builds one from what `dataclasses.asdict` made of it."""
        return cls(**{**content, "left": [Left(**left) for left in content["left"]]})


def count_left(left: Iterable[tuple[str, str]]) -> list[Left]:
    """Counts pairs of an operation and a reason, the most frequent first."""
    counts = collections.Counter(left).most_common()
    return [Left(operation, count, reason) for (operation, reason), count in counts]


def of(coverages: Sequence[Coverage], accelerator: str) -> Coverage | None:
    """The one of an accelerator, if it is among them."""
    return next((one for one in coverages if one.accelerator == accelerator), None)
