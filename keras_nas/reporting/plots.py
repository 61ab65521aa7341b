"""The plots of a run's folder: channels a layer, the gates' histogram as δ grows, the curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from keras_nas.architecture import Architecture
from keras_nas.files import atomic_path
from keras_nas.reporting.curves import held_out_curves
from keras_nas.runs.folder import RunFolder
from keras_nas.training.records import read_records

KEPT, FULL = "#1f6fb4", "#d5dce4"


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


def save(figure: Figure, path: Path, dpi: int = 130) -> Path:
    """Writes a figure as PNG or SVG, by the path's suffix, in one step. Returns the path."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=dpi)
    return Path(path)
