"""The metrics that results carry: what they are called, in which unit, which way is better."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Quality:
    """A metric of a task.

    Attributes:
        key: Its name in results.json.
        name: Its name for people.
        unit: Of the value that is shown; empty for none.
        factor: What the stored value is multiplied by to be in that unit.
        digits: Digits after the point.
        page_only: Whether it stands on the report's page, but not in the console's table.
    """

    key: str
    name: str
    unit: str
    factor: float
    digits: int
    page_only: bool = False

    @property
    def label(self) -> str:
        """The name with the unit."""
        return f"{self.name} {self.unit}".rstrip()

    def shown(self, value: float) -> str:
        """The value in the unit of the label."""
        return f"{self.factor * value:.{self.digits}f}"


QUALITIES = (
    Quality("top1", "top-1", "%", 100, 2),
    Quality("top5", "top-5", "%", 100, 2, page_only=True),
    Quality("binary_accuracy", "accuracy of each output", "%", 100, 2, page_only=True),
    Quality("psnr_y", "PSNR (Y)", "dB", 1, 2),
    Quality("ssim_y", "SSIM (Y)", "", 1, 4),
    Quality("miou", "mean IoU", "%", 100, 2),
    Quality("pixel_accuracy", "pixel accuracy", "%", 100, 2, page_only=True),
)
"""Higher is better in each; the first that a run has is the one to judge it by."""


def qualities_of(rows: Iterable[Mapping[str, Any]]) -> list[Quality]:
    """The metrics that any of the rows has, the main one first."""
    rows = list(rows)
    return [quality for quality in QUALITIES if any(quality.key in row for row in rows)]
