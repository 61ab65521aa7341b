"""Images inside a page: data URIs, so that the page is one file."""

from __future__ import annotations

import base64
import dataclasses
import io
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

PIXELS_PER_INCH = 105
_TYPES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".svg": "svg+xml"}


@dataclasses.dataclass(frozen=True)
class Image:
    """An image of the page.

    Attributes:
        source: Its data URI.
        caption: The line below it, and its alternative text.
        width: Its width in pixels where the page has room; None for the file's own.
    """

    source: str
    caption: str
    width: int | None = None


def embed_figure(figure: Figure, caption: str) -> Image:
    """A matplotlib figure as SVG, the same bytes for the same figure."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "keras_nas"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    width = round(PIXELS_PER_INCH * figure.get_figwidth())
    return Image(_data_uri(buffer.getvalue(), "svg+xml"), caption, width)


def embed_file(path: Path, caption: str) -> Image:
    """An image's file (PNG, JPEG or SVG)."""
    return Image(_data_uri(path.read_bytes(), _TYPES[path.suffix.lower()]), caption)


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
