"""What came out: means and spreads over seeds, as a table and as plots."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from rich import box
from rich.table import Table

from benchmarks.rivals.entrants import OURS, REFERENCES
from keras_nas.reporting.quality import QUALITIES, Quality
from keras_nas.reporting.tables import format_count
from keras_nas.tasks import TASKS

COLORS = ("#1f6fb4", "#c4532f", "#3b8a4a", "#7b5aa6", "#8a6d3b", "#5f6b76", "#b83b7e", "#2b9aa0")

MEASURED = {
    "latency_ms": "median ms of the float32 .tflite on one thread, in turns",
    "size_bytes": "kB of the float32 .tflite",
    "gzip_bytes": "kB of the float32 .tflite, compressed by gzip",
}
"""What a `Standing` knows of the files, where they were measured."""

MONITORS = tuple(task.monitor for task in TASKS.values())
"""The metrics that tasks are judged by."""


@dataclasses.dataclass(frozen=True)
class Standing:
    """An entrant at one target of one network, over its seeds.

    Attributes:
        metric: The name of what is measured.
        seeds: Those that were played, rising.
        values: One a seed.
        macs: The mean.
        latency_ms, size_bytes, gzip_bytes: The means of those that were measured; None if none was.
        fair: Whether each seed's macs are within 2 % of the target.
    """

    network: str
    entrant: str
    target: float
    metric: str
    seeds: tuple[int, ...]
    values: tuple[float, ...]
    macs: float
    latency_ms: float | None
    size_bytes: float | None
    gzip_bytes: float | None
    fair: bool

    @property
    def ours(self) -> bool:
        """Whether it is of a learned method, or has the widths of one."""
        return self.entrant.removesuffix("_scratch") in OURS

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def spread(self) -> float:
        """The standard deviation over the seeds; 0 for one."""
        return statistics.stdev(self.values) if len(self.values) > 1 else 0.0


def metrics_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The metrics that any of the rows has: that of its task, then those of further test sets."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [name for name in names if any(map(name.startswith, MONITORS))]


def quality_of(metric: str) -> Quality:
    """How a metric of `metrics_of` is called and shown, such as "PSNR (Y) of Set14 dB"."""
    key = next(key for key in MONITORS if metric.startswith(key))
    quality = next(quality for quality in QUALITIES if quality.key == key)
    where = metric.removeprefix(key).removeprefix("_")
    return dataclasses.replace(quality, name=f"{quality.name} of {where}") if where else quality


def row_text(row: Mapping[str, Any]) -> str:
    """A row's metrics, such as "top-1 % 88.21"."""
    qualities = {metric: quality_of(metric) for metric in metrics_of([row])}
    return "  ".join(f"{each.label} {each.shown(row[name])}" for name, each in qualities.items())


def standings(rows: Iterable[Mapping[str, Any]], metric: str = "top1") -> list[Standing]:
    """One for each network, target and entrant that has the metric, in the order of the rows."""
    groups: dict[tuple, list[Mapping[str, Any]]] = {}
    for row in rows:
        if metric in row:
            groups.setdefault((row["network"], row["target"], row["entrant"]), []).append(row)
    return [_standing(key, metric, group) for key, group in groups.items()]


def _standing(key: tuple, metric: str, group: Sequence[Mapping[str, Any]]) -> Standing:
    network, target, entrant = key
    group = sorted(group, key=lambda row: row["seed"])
    measured = {name: [row[name] for row in group if name in row] for name in MEASURED}
    return Standing(
        network, entrant, target, metric,
        tuple(row["seed"] for row in group), tuple(row[metric] for row in group),
        statistics.fmean(row["macs"] for row in group),
        fair=all(row["fair"] for row in group),
        **{name: statistics.fmean(values) if values else None for name, values in measured.items()},
    )  # fmt: skip


def margins(found: Sequence[Standing]) -> dict[tuple[str, float], float]:
    """By network and target: our best mean minus the rivals' best, of those with equal macs.

    Who lacks a seed that another of the cell has does not count.
    """
    ahead = {}
    for key, cell in _comparable(found).items():
        ours, rivals = ([each.mean for each in cell if each.ours is side] for side in (True, False))
        if ours and rivals:
            ahead[key] = max(ours) - max(rivals)
    return ahead


def margins_in_time(found: Sequence[Standing]) -> dict[tuple[str, float], float]:
    """By network and target: how far ours are above what the rivals have in the same time.

    What a rival has in a time is read off the lines between its networks, the full one included; in
    less time than its fastest takes it has what that one has. Of ours, the one that is furthest
    ahead counts; of the rivals, the best.
    """
    measured = [each for each in found if each.latency_ms is not None]
    cells = _comparable(measured)
    ahead = {}
    for (network, target), cell in cells.items():
        lines = _lines([each for each in measured if each.network == network], cells)
        ours = [each for each in cell if each.ours]
        if ours and lines:
            ahead[network, target] = max(
                each.mean - max(float(np.interp(_ms(each), *line)) for line in lines)
                for each in ours
            )
    return ahead


def _ms(each: Standing) -> float:
    assert each.latency_ms is not None
    return each.latency_ms


def _lines(
    measured: Sequence[Standing], cells: Mapping[tuple[str, float], Sequence[Standing]]
) -> list[tuple[list[float], list[float]]]:
    """A network's rivals: their milliseconds, rising, and their means, with the full network's."""
    full = [each for each in measured if each.entrant == "full"]
    rivals: dict[str, list[Standing]] = {}
    for each in measured:
        if not each.ours and each in cells.get((each.network, each.target), ()):
            rivals.setdefault(each.entrant, [*full]).append(each)
    lines = []
    for points in rivals.values():
        rising = sorted((_ms(each), each.mean) for each in points)
        lines.append(([ms for ms, _ in rising], [mean for _, mean in rising]))
    return lines


def _comparable(found: Sequence[Standing]) -> dict[tuple[str, float], list[Standing]]:
    """By network and target: those with the target's macs, and with all seeds that anybody has."""
    cells: dict[tuple[str, float], list[Standing]] = {}
    for each in found:
        if each.entrant not in REFERENCES and each.fair:
            cells.setdefault((each.network, each.target), []).append(each)
    for key, cell in cells.items():
        seeds = set().union(*(each.seeds for each in cell))
        cells[key] = [each for each in cell if set(each.seeds) == seeds]
    return cells


def results_table(found: Sequence[Standing], shown: str = "quality") -> Table:
    """A row a network and target, a column an entrant; the full network's too of what is measured.

    Args:
        found: The standings.
        shown: `"quality"`: mean ± spread, with a star where macs are more than 2 % off the target;
            or one of `MEASURED`. The quality's and the time's end with how far ours are ahead.
    """
    played = [each for each in found if each.entrant not in REFERENCES]
    entrants = list(dict.fromkeys(each.entrant for each in played))
    first = [] if shown == "quality" else ["full"]
    last = _last_column(found, shown)
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, collapse_padding=True)
    table.add_column("network", no_wrap=True)
    table.add_column("macs", justify="right", no_wrap=True)
    for name in (*first, *entrants, *last):
        table.add_column(name, justify="right")
    cells = {(each.network, each.target, each.entrant): each for each in found}
    for network, target in dict.fromkeys((each.network, each.target) for each in played):
        full = [cells.get((network, 1.0, name)) for name in first]
        row = [cells.get((network, target, name)) for name in entrants]
        texts = ["" if each is None else _cell(each, shown) for each in (*full, *row)]
        for ahead in last.values():
            margin = ahead.get((network, target))
            texts.append("" if margin is None else _signed(margin, found[0].metric))
        table.add_row(network, f"{target:g}×", *texts)
    return table


def _last_column(
    found: Sequence[Standing], shown: str
) -> dict[str, dict[tuple[str, float], float]]:
    """How far ours are ahead, under the column's name; nothing where that is not shown."""
    if shown == "quality":
        return {"ours − best rival": margins(found)}
    if shown == "latency_ms":
        return {"ours − best rival in that time": margins_in_time(found)}
    return {}


def references(found: Sequence[Standing]) -> list[str]:
    """A line a network: the full network, and what twice its epochs would have brought."""
    known = {(each.network, each.entrant): each for each in found if each.entrant in REFERENCES}
    lines = []
    for network in dict.fromkeys(network for network, _ in known):
        full, twice = (known.get((network, name)) for name in REFERENCES)
        if full is not None and twice is not None:
            unit, gain = quality_of(full.metric).unit, _signed(twice.mean - full.mean, full.metric)
            lines.append(
                f"{network}: full network {_cell(full, 'quality')} {unit}, after twice its epochs "
                f"{_cell(twice, 'quality')} {unit} ({gain})"
            )
    return lines


def _cell(each: Standing, shown: str) -> str:
    if shown in MEASURED:
        value = getattr(each, shown)
        if value is None:
            return ""
        return f"{value:.3f}" if shown == "latency_ms" else f"{value / 1000:,.1f}"
    quality = quality_of(each.metric)
    spread = f" ± {quality.shown(each.spread)}" if len(each.values) > 1 else ""
    return f"{quality.shown(each.mean)}{spread}{'' if each.fair else '*'}"


def _signed(difference: float, metric: str) -> str:
    return f"{quality_of(metric).factor * difference:+.2f}"


def plot(found: Sequence[Standing], network: str, against: str = "macs") -> Figure:
    """The mean of each entrant's metric against macs, or measured milliseconds.

    Args:
        found: The standings.
        network: Whose.
        against: `"macs"` or `"latency_ms"`.
    """
    chosen = [each for each in found if each.network == network and getattr(each, against)]
    quality = quality_of(chosen[0].metric)
    figure = Figure(figsize=(7.5, 4.8), layout="constrained")
    axes = figure.add_subplot()
    entrants = [name for name in dict.fromkeys(e.entrant for e in chosen) if name not in REFERENCES]
    for index, name in enumerate(entrants):
        points = sorted(
            (getattr(each, against), quality.factor * each.mean, quality.factor * each.spread)
            for each in chosen
            if each.entrant == name
        )
        places, means, spreads = zip(*points, strict=True)
        ours = any(each.ours for each in chosen if each.entrant == name)
        axes.errorbar(
            places, means, spreads, label=name, marker="o", capsize=3,
            color=COLORS[index % len(COLORS)], linewidth=2.4 if ours else 1.2,
            linestyle="-" if ours else "--",
        )  # fmt: skip
    for each in chosen:
        if each.entrant == "full":
            level = quality.factor * each.mean
            axes.axhline(level, color="#3b4754", linewidth=1, linestyle=":")
            axes.annotate("full network", (1, level), xycoords=("axes fraction", "data"),
                          ha="right", va="bottom", fontsize=8)  # fmt: skip
    if against == "macs":
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_count(value)))
    axes.set_xlabel("multiply-adds" if against == "macs" else "median ms of the .tflite, this host")
    axes.set_ylabel(f"{quality.label}, mean and spread over seeds")
    axes.set_title(network)
    axes.grid(color="#e6eaee")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), fontsize=9)
    return figure
