"""The plots of a run: its channels, its gates as δ grows, its curves, its latencies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from keras_nas.architecture import Architecture
from keras_nas.files import atomic_path
from keras_nas.reporting.quality import QUALITIES
from keras_nas.runs.folder import RunFolder
from keras_nas.training.records import read_records

KEPT, FULL = "#1f6fb4", "#d5dce4"
CURVE, BESIDE = "#1f6fb4", "#3b4754"
MEDIAN, SPREAD = "#1f6fb4", "#3b4754"
BESIDE_STAGES = ("baseline",)
"""Stages that train another network: their curves begin at epoch 0 again."""


def draw_run(folder: RunFolder) -> list[Path]:
    """Draws what the run's files allow into its `plots/`.

    Returns:
        The paths of the images: channels.png where the architecture stage is done, gates.png
        where gates were annealed, and curves.png where there is held-out data.
    """
    drawn = []
    if folder.architecture.exists():
        architecture = Architecture.load(folder.architecture)
        kept = {name: len(channels) for name, channels in architecture.kept_channels.items()}
        figure = channels_per_layer(architecture.channels, kept)
        drawn.append(save(figure, folder.plots / "channels.png"))
    records = read_records(folder.metrics)
    annealed = [record for record in records if "histogram" in record]
    if annealed:
        drawn.append(save(gate_histograms(annealed), folder.plots / "gates.png"))
    curves = held_out_curves(records)
    if curves is not None:
        drawn.append(save(curves, folder.plots / "curves.png"))
    return drawn


def channels_per_layer(full: Mapping[str, int], kept: Mapping[str, int]) -> Figure:
    """Bars of the channels that each gated layer had and keeps.

    Args:
        full: Channels by layer, in the order of the network.
        kept: Kept channels by layer; the same names.
    """
    names = list(full)
    figure = Figure(figsize=(max(6.0, 0.32 * len(names) + 1.5), 4.8), layout="constrained")
    axes = figure.add_subplot()
    places = np.arange(len(names))
    axes.bar(places, [full[name] for name in names], color=FULL, label="original")
    axes.bar(places, [kept[name] for name in names], color=KEPT, label="kept")
    total = sum(full.values())
    share = sum(kept[name] for name in names) / total if total else 0.0
    axes.set_title(f"Channels per layer: {share:.0%} of {total:,} kept")
    axes.set_ylabel("channels")
    axes.set_xticks(places, [name.removesuffix("_gate") for name in names], rotation=90, fontsize=8)
    axes.set_xlim(-0.7, len(names) - 0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def gate_histograms(records: Sequence[Mapping[str, Any]]) -> Figure:
    """How the gates part into 0 and 1 as δ grows (DNAL's Fig. 3).

    Args:
        records: The architecture stage's records, each with `delta`, `histogram` (counts in equal
            bins of [0, 1]), `channels` and `undecided`.
    """
    figure = Figure(figsize=(7.5, max(3.0, 0.34 * len(records) + 1.6)), layout="constrained")
    axes = figure.add_subplot()
    shares = np.array([record["histogram"] for record in records], float)
    shares *= 100 / np.maximum(1, shares.sum(axis=1, keepdims=True))
    image = axes.imshow(
        shares, aspect="auto", cmap="Blues", vmin=0, vmax=100, origin="upper",
        extent=(0, 1, len(records) - 0.5, -0.5), interpolation="nearest",
    )  # fmt: skip
    labels = [f"{record['delta']:.4g}" for record in records]
    axes.set_yticks(range(len(records)), labels, fontsize=8)
    axes.set_xlabel("gate p = sigmoid(δ s)")
    axes.set_ylabel("δ")
    side = axes.secondary_yaxis("right")
    side.set_yticks(
        range(len(records)), [f"{record['undecided']:,}" for record in records], fontsize=8
    )
    side.set_ylabel("undecided channels")
    axes.set_title(f"{records[-1]['channels']:,} gates by δ")
    figure.colorbar(image, ax=axes, label="% of channels", pad=0.12)
    return figure


def held_out_curves(records: Sequence[Mapping[str, Any]]) -> Figure | None:
    """The main metric after each epoch, the stages one behind the other (DNAL's Fig. 4 and 5).

    The baseline and random networks have curves of their own, from the first epoch on.

    Args:
        records: Of metrics.jsonl: one mapping an epoch, in order.

    Returns:
        The figure; None where nothing was evaluated after epochs.
    """
    epochs = [record for record in records if record["stage"] != "surgery"]
    quality = next((q for q in QUALITIES if any(f"val_{q.key}" in r for r in epochs)), None)
    if quality is None:
        return None
    stages: dict[str, list[float]] = {}
    for record in epochs:
        if f"val_{quality.key}" in record:
            value = quality.factor * record[f"val_{quality.key}"]
            stages.setdefault(record["stage"], []).append(value)
    figure = Figure(figsize=(8.0, 4.8), layout="constrained")
    axes = figure.add_subplot()
    searched = [stage for stage in stages if not _stands_beside(stage)]
    values = [value for stage in searched for value in stages[stage]]
    axes.plot(range(1, len(values) + 1), values, color=CURVE, label="search")
    begin = 0
    for stage in searched:
        axes.axvline(begin + 0.5, color="#d5dce4", zorder=0)
        axes.text(begin + 0.5, 1.01, f" {stage}", transform=axes.get_xaxis_transform(), fontsize=8)
        begin += len(stages[stage])
    for stage in stages:
        if _stands_beside(stage):
            own = stages[stage]
            axes.plot(range(1, len(own) + 1), own, color=BESIDE, linestyle="--", label=stage)
    axes.set_xlabel("epoch")
    axes.set_ylabel(f"{quality.label}, held out")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    return figure


def _stands_beside(stage: str) -> bool:
    return stage in BESIDE_STAGES or stage.startswith("random_")


def latency_bars(results: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws the median of each measurement, and a whisker from the fastest to the 90th percentile.

    Args:
        results: Entries of a benchmark's JSON: `model.path`, `device.name`, `runtime`, `threads`,
            `median_ms`, `min_ms`, `p90_ms`. A phone's few rounds have no percentile, and so no
            whisker above; its older programs tell no median but `mean_ms`.
    """
    figure = Figure(figsize=(9.0, 0.62 * len(results) + 1.3), layout="constrained")
    axes = figure.add_subplot()
    places = range(len(results))
    medians = [result["median_ms"] or result["mean_ms"] for result in results]
    below = [
        median - (result["min_ms"] or median)
        for median, result in zip(medians, results, strict=True)
    ]
    ends = [result["p90_ms"] or median for median, result in zip(medians, results, strict=True)]
    above = [end - median for end, median in zip(ends, medians, strict=True)]
    axes.barh(places, medians, height=0.55, color=MEDIAN)
    axes.errorbar(
        medians, places, xerr=[below, above], fmt="none", ecolor=SPREAD, capsize=3, linewidth=1
    )
    for place, (median, end) in enumerate(zip(medians, ends, strict=True)):
        axes.annotate(
            f"{median:.3f} ms", (end, place),
            xytext=(6, 0), textcoords="offset points", va="center", fontsize=9,
        )  # fmt: skip
    axes.set_yticks(places, [_label(result) for result in results], fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.18 * max(ends))
    axes.set_xlabel("ms an inference: median; whiskers from the fastest to the 90th percentile")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _label(result: Mapping[str, Any]) -> str:
    device, runtime = result["device"], result["runtime"]
    threads = f"{result['threads']} thread" + ("s" if result["threads"] != 1 else "")
    return (
        f"{Path(result['model']['path']).name}\n{device['name']}, {runtime['delegate']}, {threads}"
    )


def save(figure: Figure, path: Path, dpi: int = 130) -> Path:
    """Writes a figure as PNG or SVG, by the path's suffix, in one step. Returns the path."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=dpi)
    return Path(path)
