"""The record of one thing that a fetch made ready."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Fetched:
    """What stands where, and whence it came.

    Attributes:
        name: What it is, such as "Fashion-MNIST".
        path: The folder it stands in.
        source: Whence it came, such as "Debian package dataset-fashion-mnist".
        content: How much of what, such as "60,000 + 10,000 images".
    """

    name: str
    path: Path
    source: str
    content: str

    def __str__(self) -> str:
        return f"{self.name}: {self.content}, from {self.source}, in {self.path}"
