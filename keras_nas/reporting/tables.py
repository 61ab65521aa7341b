"""The table at the end of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

COLUMNS = {
    "top1": "top-1 %",
    "top5": "top-5 %",
    "params": "params",
    "macs": "MACs",
    "size": "size",
    "latency_ms": "median ms",
}


def results_table(rows: Mapping[str, Mapping[str, Any]], reference: str = "original") -> Table:
    """What a run gained: one row a network, each number beside the original's.

    Args:
        rows: results.json's `rows`: by name, a mapping with some of `top1`, `top5` (shares),
            `params`, `macs`, `size` (bytes), `latency_ms`. A column that no row has is left out.
        reference: The row that the others' params and MACs are compared with.
    """
    table = Table(title=None, header_style="bold")
    table.add_column("network")
    shown = [name for name in COLUMNS if any(name in row for row in rows.values())]
    for name in shown:
        table.add_column(COLUMNS[name], justify="right", no_wrap=True)
    base = rows.get(reference, {})
    for label, row in rows.items():
        table.add_row(label, *(format_cell(name, row, base) for name in shown))
    return table


def format_cell(name: str, row: Mapping[str, Any], base: Mapping[str, Any]) -> str:
    """A cell: `91.24`, `46.21 k (0.35×)`, `0.19 MB`, `0.412`."""
    if name not in row:
        return ""
    value = row[name]
    if name in ("top1", "top5"):
        return f"{100 * value:.2f}"
    if name in ("params", "macs"):
        share = f" ({value / base[name]:.2f}×)" if base.get(name) else ""
        return f"{format_count(value)}{share}"
    if name == "size":
        return f"{value / 1e6:.3f} MB"
    return f"{value:.3f}"


def format_count(value: float) -> str:
    """`312.4 M`, `46.21 k`: four digits and a unit."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.4g} {unit}"
    return f"{value:.0f}"
