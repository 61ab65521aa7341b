"""What an export wrote, as a table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from export.parity import Parity
from export.tflite import ExportedModel


def export_table(exports: Sequence[tuple[ExportedModel, Parity]]) -> Table:
    """One row for each file: its size, its differences and the task metric.

    Differences are percentages of the Keras output's range (of the fake-quantised model's for
    "qat").
    """
    table = Table(header_style="bold")
    table.add_column("file", min_width=20, overflow="fold")
    metric = next((parity.metric_name for _, parity in exports if parity.metric_name), "metric")
    for name in ("size\nMB", "worst\n%", "mean\n%", "same\nargmax %", f"{metric}\nKeras → file"):
        table.add_column(name, justify="right", no_wrap=True)
    for exported, parity in exports:
        agreement = parity.argmax_agreement
        table.add_row(
            exported.path.name,
            f"{exported.size_bytes / 1e6:.3f}",
            f"{100 * parity.worst_relative:.2g}",
            f"{100 * parity.mean_relative:.2g}",
            "" if agreement is None else f"{100 * agreement:.2f}",
            ""
            if parity.metric_keras is None
            else f"{parity.metric_keras:.2f} → {parity.metric_tflite:.2f}",
        )
    return table
