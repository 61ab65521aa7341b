"""The metric on held-out data, epoch by epoch, over all stages of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from keras_nas.reporting.quality import QUALITIES

CURVE, BESIDE = "#1f6fb4", "#3b4754"
BESIDE_STAGES = ("baseline",)
"""Stages that train another network: their curves begin at epoch 0 again."""


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
