"""The table at the end of a run."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table

from keras_nas.reporting.quality import QUALITIES, qualities_of

COSTS = {"params": "params", "macs": "MACs", "size": "size", "latency_ms": "median ms"}
_BY_KEY = {quality.key: quality for quality in QUALITIES}
_HEAD_WIDTH = 8


def reference_of(rows: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """The row that a run's networks are compared with: the baseline, where one was trained.

    Else the original: what the search's own network was after the weight stage (with FGNAS' further
    operations, where it has them).
    """
    return rows.get("baseline") or rows.get("original", {})


def results_table(rows: Mapping[str, Mapping[str, Any]]) -> Table:
    """What a run gained: one row a network, each number beside that of `reference_of`.

    Args:
        rows: results.json's `rows`: by name, a mapping with some of the keys of `QUALITIES`,
            `params`, `macs`, `size` (bytes), `latency_ms`. A column that no row has is left out.
    """
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, collapse_padding=True)
    table.add_column("network", no_wrap=True)
    qualities = [quality for quality in qualities_of(rows.values()) if not quality.page_only]
    for quality in qualities:
        head = textwrap.fill(quality.label, _HEAD_WIDTH)
        table.add_column(head, justify="right", no_wrap=True)
    costs = [key for key in COSTS if any(key in row for row in rows.values())]
    for key in costs:
        table.add_column(COSTS[key], justify="right", no_wrap=key not in ("params", "macs"))
    keys = [*(quality.key for quality in qualities), *costs]
    base = reference_of(rows)
    for label, row in rows.items():
        label = label.replace("_dynamic_int8.tflite", " int8.tflite")
        table.add_row(label, *(format_cell(key, row, base) for key in keys))
    return table


def format_cell(name: str, row: Mapping[str, Any], base: Mapping[str, Any]) -> str:
    """A cell: `91.24`, `46.2 k (0.35×)`, `0.19 MB`, `0.412`."""
    if name not in row:
        return ""
    value = row[name]
    quality = _BY_KEY.get(name)
    if quality is not None:
        return quality.shown(value)
    if name in ("params", "macs"):
        share = f" ({value / base[name]:.2f}×)" if base.get(name) else ""
        return f"{format_count(value)}{share}"
    if name == "size":
        return f"{value / 1e6:.2f} MB"
    return f"{value:.3f}"


def format_count(value: float) -> str:
    """`312 M`, `46.2 k`: three digits and a unit."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f}"
