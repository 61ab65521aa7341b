"""Showing a stage's progress: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_LINE_SECONDS = 20.0


def make_progress(kind: str) -> Reporter:
    """A reporter of kind `"bar"`, `"lines"`, `"off"` or `"auto"` (a bar on a terminal)."""
    if kind == "auto":
        kind = "bar" if sys.stderr.isatty() else "lines"
    return {"bar": BarReporter, "lines": LineReporter, "off": Reporter}[kind]()


def format_values(values: Mapping[str, float]) -> str:
    """`loss 0.1234  top1 0.9876`."""
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())


class Reporter:
    """Shows nothing; the base of the two that do."""

    due_seconds = float("inf")
    """Seconds between two calls of `step` that are worth computing values for."""

    def start(self, name: str, done: int, total: int) -> None:
        """A stage of `total` steps begins, or goes on after `done`."""

    def step(self, done: int, epoch: str, values: Mapping[str, float]) -> None:
        """`done` steps of the stage are behind us; `epoch` is like "3/10"."""

    def say(self, line: str) -> None:
        """A line that stays."""

    def end(self) -> None:
        """The stage is over, however it ended."""


class BarReporter(Reporter):
    """One bar a stage on standard error: loss, metrics, kept share, time left."""

    due_seconds = 0.5

    def __init__(self, console: Console | None = None):
        self._console = console or Console(stderr=True)
        self._progress: Progress | None = None

    def start(self, name, done, total):
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[values]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._progress.start()
        self._task = self._progress.add_task(
            name, total=total, completed=done, epoch="-", values=""
        )

    def step(self, done, epoch, values):
        if self._progress is not None:
            self._progress.update(
                self._task, completed=done, epoch=epoch, values=format_values(values)
            )

    def say(self, line):
        self._console.print(line, highlight=False, soft_wrap=True)

    def end(self):
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


class LineReporter(Reporter):
    """Plain lines on standard error: one an epoch, and one every 20 seconds within it."""

    due_seconds = _LINE_SECONDS

    def start(self, name, done, total):
        self._name, self._total = name, total
        self._timed_from: tuple[int, float] | None = None

    def step(self, done, epoch, values):
        now = time.monotonic()
        if self._timed_from is None:  # the steps before this one were traced, too
            self._timed_from = done, now
        first, began = self._timed_from
        rate = (done - first) / (now - began) if now > began else 0.0
        left = f"  {(self._total - done) / rate:.0f} s left" if rate else ""
        self.say(
            f"{self._name}  epoch {epoch}  step {done}/{self._total}  {format_values(values)}{left}"
        )

    def say(self, line):
        print(line, file=sys.stderr, flush=True)
