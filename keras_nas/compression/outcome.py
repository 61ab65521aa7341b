"""What was asked for, what was there and what was reached, side by side."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
from absl import logging
from rich import box
from rich.console import Console
from rich.table import Table

from keras_nas.choices import FORMS_OF
from keras_nas.compression.config import CompressConfig
from keras_nas.costs import LatencyTable, arena_bytes, tflite_bytes
from keras_nas.costs.costs import scaled
from keras_nas.costs.count import count_graph, graph_of
from keras_nas.errors import KerasNasError
from keras_nas.graph import Graph
from keras_nas.targets import parse_target

SHARES = frozenset(("top1", "top5", "binary_accuracy", "miou", "pixel_accuracy"))
"""The metrics that are shares, shown in per cent."""
SHOWN = ("macs", "params")
"""The costs that are shown whatever was asked for."""
COLUMNS = ("", "original", "small", "asked", "")
KINDS = {"bytes": "bytes", "ram": "bytes", "latency_ms": "ms"}
"""How costs are shown that are no counts."""


@dataclasses.dataclass(frozen=True)
class OutcomeRow:
    """One quantity.

    Attributes:
        name: What it is, with its unit.
        original: Its value for the network as it was.
        small: For the small one; nan where it cannot be told.
        asked: The most that it may be; None where nothing was asked.
        kind: How it is shown: "share" (a metric from 0 to 1), "quality" (another metric), "count",
            "bytes" or "ms".
        predicted: Of a measured value, what the table has it at; nan where it cannot tell.
        noise: The share of what was asked that a measured value may be over it.
    """

    name: str
    original: float
    small: float
    asked: float | None = None
    kind: str = "count"
    predicted: float | None = None
    noise: float = 0.0

    @property
    def met(self) -> bool | None:
        """Whether the small network is within what was asked; None where nothing was."""
        return None if self.asked is None else self.small <= (1 + self.noise) * self.asked

    def cells(self) -> list[str]:
        """Name, original, small, asked and a verdict, as text."""
        small = _shown(self.kind, self.small)
        change = self.small - self.original
        if self.kind == "share":
            verdict = f"{100 * change:+.2f} points"
        elif self.kind == "quality":
            verdict = f"{change:+.4g}"
        else:
            small += f" ({self.small / self.original:.3g}x)" if self.original else ""
            verdict = {None: "", True: "met", False: "missed"}[self.met]
            if math.isnan(self.small):
                small, verdict = _shown(self.kind, self.small), "cannot be told"
            elif self.asked is not None and self.small > self.asked:
                over = f"{100 * (self.small / self.asked - 1):.1f} %"
                verdict = f"met, +{over} is noise" if self.met else f"missed by {over}"
            if self.predicted is not None:
                verdict = f"{verdict} (table: {_shown(self.kind, self.predicted)})".strip()
        asked = "" if self.asked is None else f"≤ {_shown(self.kind, self.asked)}"
        return [self.name, _shown(self.kind, self.original), small, asked, verdict]

    def record(self) -> dict[str, Any]:
        """For JSON: the values as they are, `met`, and `shown`, the text of `cells`."""
        small = None if math.isnan(self.small) else self.small
        return {
            "name": self.name, "original": self.original, "small": small, "asked": self.asked,
            "met": self.met, "shown": self.cells(),
        }  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The rows of a compression; printing it gives the table."""

    rows: Sequence[OutcomeRow]

    @property
    def met(self) -> bool:
        """Whether all that was asked for is kept to."""
        return all(row.met is not False for row in self.rows)

    def record(self) -> dict[str, Any]:
        """For results.json: `met`, the columns' names as `head`, and the rows."""
        return {
            "met": self.met,
            "head": list(COLUMNS),
            "rows": [row.record() for row in self.rows],
        }

    def table(self) -> Table:
        """The rows for a console."""
        table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
        table.add_column(COLUMNS[0], no_wrap=True)
        for name in COLUMNS[1:]:
            table.add_column(name, justify="right", no_wrap=True)
        for row in self.rows:
            table.add_row(*row.cells())
        return table

    def __str__(self):
        console = Console(width=100, highlight=False)
        with console.capture() as captured:
            console.print(self.table())
        return captured.get().rstrip()


def outcome_of(
    config: CompressConfig,
    model: keras.Model,
    small: keras.Model,
    before: Mapping[str, float],
    after: Mapping[str, float],
    shape: tuple[int, ...] = (),
) -> Outcome:
    """The metrics and costs of two networks beside the budget; costs as the search priced them.

    Args:
        config: What was asked for.
        model, small: The network as it was, and the small one.
        before, after: Their metrics.
        shape: What costs are counted at, where the networks leave their input's size open.
    """
    rows = quality_rows(before, after)
    targets = config.targets
    full, fewer = (costs_of(each, config, shape) for each in (model, small))
    for what in full:
        asked = None
        form = form_of(config, what)
        original, left = full[what], fewer[what]
        if what in targets:
            forms = FORMS_OF.get(what, ())
            asked = parse_target(f"target_{what}", targets[what], forms=forms).of(original)
        name = label_of(what, form)
        rows.append(OutcomeRow(name, original, left, asked, KINDS.get(what, "count")))
    return Outcome(rows)


def costs_of(
    model: keras.Model, config: CompressConfig, shape: tuple[int, ...]
) -> dict[str, float]:
    """What a network costs, by what of `keras_nas.choices.BUDGETS` is shown or asked for."""
    graph = graph_of(model, shape or None)
    counted = count_graph(graph)
    found: dict[str, float] = {}
    for what in dict.fromkeys((*SHOWN, *config.targets)):
        if what == "latency_ms":
            found[what] = _by_table(graph, config)
        elif what in FORMS_OF:
            reckon = {"bytes": tflite_bytes, "ram": arena_bytes}[what]
            found[what] = float(reckon(graph, form_of(config, what)))
        else:
            found[what] = float(getattr(counted, what))
    return found


def _by_table(graph: Graph, config: CompressConfig) -> float:
    """A network's milliseconds by the table; nan, which is logged, where surgery left more in it.

    What was searched is not lost for an operation that the table lacks.
    """
    table = LatencyTable.load(Path(config.latency_table))
    try:
        return table.predict(graph, interpolate=config.interpolate)
    except KerasNasError as error:
        logging.warning("The time of %s cannot be told by the table: %s", graph.name, error)
        return math.nan


def form_of(config: CompressConfig, what: str) -> str:
    """The format or dtype that a budget is of; empty where there is one only."""
    return config.forms_of(what)[0] if what in FORMS_OF and what in config.targets else ""


def label_of(what: str, form: str = "") -> str:
    """A row's name for a cost."""
    return {"bytes": f"{form} file", "ram": f"{form} arena", "latency_ms": "time by table"}.get(
        what, what
    )


def quality_rows(before: Mapping[str, float], after: Mapping[str, float]) -> list[OutcomeRow]:
    """A row for each metric that both have, but the loss."""
    return [
        quality_row(name, before[name], after[name])
        for name in before
        if name in after and name != "loss"
    ]


def quality_row(name: str, before: float, after: float, of: str = "") -> OutcomeRow:
    """The row of a metric.

    Args:
        name: The metric's, as the task's records have it.
        before, after: Its values.
        of: What stands before its name, such as a file's format.
    """
    label = f"{of} {name}".strip().replace("_", " ")
    return OutcomeRow(label, before, after, kind="share" if name in SHARES else "quality")


def _shown(kind: str, value: float) -> str:
    if math.isnan(value):
        return "unknown"
    if kind == "share":
        return f"{100 * value:.2f} %"
    if kind == "quality":
        return f"{value:.4g}"
    if kind == "bytes":
        return f"{value / 1e3:,.1f} kB"
    if kind == "ms":
        return f"{value:.3f} ms"
    return scaled(value)
