"""The table at the end of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table

METRICS = {"top1": "top-1 %", "miou": "mIoU %", "psnr_y": "PSNR dB", "ssim_y": "SSIM"}
"""The tasks' metrics that are shown; the first two are shares."""
COLUMNS = {
    **METRICS,
    "params": "params",
    "macs": "MACs",
    "size": "size",
    "latency_ms": "median ms",
}


def results_table(rows: Mapping[str, Mapping[str, Any]], reference: str = "original") -> Table:
    """What a run gained: one row a network, each number beside the original's.

    Args:
        rows: results.json's `rows`: by name, a mapping with some of `METRICS`,
            `params`, `macs`, `size` (bytes), `latency_ms`. A column that no row has is left out.
        reference: The row that the others' params and MACs are compared with.
    """
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, collapse_padding=True)
    table.add_column("network", overflow="fold")
    shown = [name for name in COLUMNS if any(name in row for row in rows.values())]
    for name in shown:
        table.add_column(COLUMNS[name], justify="right", no_wrap=True)
    base = rows.get(reference, {})
    for label, row in rows.items():
        label = label.replace("_dynamic_int8.tflite", " int8.tflite")
        table.add_row(label, *(format_cell(name, row, base) for name in shown))
    return table


def format_cell(name: str, row: Mapping[str, Any], base: Mapping[str, Any]) -> str:
    """A cell: `91.24`, `46.2 k (0.35×)`, `0.19 MB`, `0.412`."""
    if name not in row:
        return ""
    value = row[name]
    if name in ("top1", "miou"):
        return f"{100 * value:.2f}"
    if name == "psnr_y":
        return f"{value:.2f}"
    if name == "ssim_y":
        return f"{value:.4f}"
    if name in ("params", "macs"):
        share = f" ({value / base[name]:.2f}×)" if base.get(name) else ""
        return f"{format_count(value)}{share}"
    if name == "size":
        return f"{value / 1e6:.2f} MB"
    return f"{value:.3f}"


def main_metric(row: Mapping[str, Any]) -> str | None:
    """The metric by which a row is compared; None if it has none."""
    return next((name for name in METRICS if name in row), None)


def format_count(value: float) -> str:
    """`312 M`, `46.2 k`: three digits and a unit."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f}"
