"""Small pictures of one colour, as files."""

from __future__ import annotations

from pathlib import Path

import PIL.Image


def save(
    folder: Path,
    count: int,
    value: int = 0,
    size: tuple[int, int] = (6, 4),
    mode: str = "RGB",
    suffix: str = "png",
) -> None:
    """Writes pictures of one number each: `value`, `value + 1`, …"""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        color = value + number if mode == "L" else (value + number,) * 3
        PIL.Image.new(mode, size, color).save(folder / f"{number:03}.{suffix}")
