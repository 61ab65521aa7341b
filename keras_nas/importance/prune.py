"""From scores and a budget to an Architecture, without a search."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_nas import gates
from keras_nas.architecture import Architecture
from keras_nas.costs.costs import scaled
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.importance.budget import Budget, Latency
from keras_nas.importance.channel_paths import is_channel_gate
from keras_nas.importance.criteria import Scores, checked
from keras_nas.importance.landing import Counts, Widths, land, widths_of
from keras_nas.importance.liveness import Liveness
from keras_nas.importance.ranking import descending, unit_keys
from keras_nas.importance.tied import Group, tied_groups

logger = logging.getLogger(__name__)


def prune(
    model: keras.Model,
    scores: Scores,
    *,
    target_macs: float | str | None = None,
    target_flops: float | str | None = None,
    target_params: float | str | None = None,
    target_latency_ms: float | str | None = None,
    latency: Latency | None = None,
    ranking: str = "layer",
    norm: str = "mean",
    tied: bool = True,
    min_channels: int = 1,
    min_share: float = 0.0,
    round_to: int = 1,
    reopen: bool = True,
    align: str = "auto",
    input_shapes: Any = None,
    source: Mapping[str, Any] | None = None,
    seed: int | None = None,
) -> Architecture:
    """Keeps the channels with the highest scores that a budget allows; takes seconds.

    The costs are those that surgery will arrive at, so the budget is kept to the channel: never
    over it, and so near under it that no layer can have another `round_to` channels (or within a
    thousandth). The model's gates are set to the architecture (mode "hard"), so that
    `surgery.build` equals the model.

    Example:

    ```python
    supernet = keras_nas.gates.insert(model, keras_nas.layers.ScaledSigmoidGate)
    scores = keras_nas.importance.score(supernet, "l1")
    architecture = keras_nas.importance.prune(supernet, scores, target_macs="0.5x")
    small = keras_nas.surgery.build(supernet, architecture)
    ```

    Args:
        model: A gated functional model.
        scores: By the gate's name, one number a channel; see `score`.
        target_macs, target_flops, target_params, target_latency_ms: The budget: one of them, a
            number or a share of the network with all gates open as `"0.5x"`.
        latency: The table for `target_latency_ms`.
        ranking: `"layer"` (every layer gives up the same share), `"global"`, `"normalized"` or
            `"kind"`; see `keras_nas.importance.ranking.unit_keys`.
        norm: What `"normalized"` and `"kind"` divide by: `"mean"`, `"l2"` or `"max"`.
        tied: Whether channels that meet at joins are scored and closed together; see
            `tied_groups`.
        min_channels: The fewest channels of a gate. With 0 whole branches may go; where no way
            through the network would be left, those that are worth most keep one.
        min_share: The smallest share of a gate's channels that stays.
        round_to: Each gate keeps a multiple of this, or all.
        reopen: False leaves closed what the gates in mode "hard" have closed.
        align: How surgery will align joins.
        input_shapes: Shapes to read the model at (batch axis included) where it leaves them open.
        source, seed: Recorded as they are; see `Architecture`.

    Raises:
        UsageError: If an argument is none of those allowed, or the scores do not fit the gates.
        KerasNasError: If even the least network is over the budget.
    """
    _check(min_channels, min_share, round_to)
    scores = checked(model, scores)
    budget = Budget(
        model,
        {
            "params": target_params,
            "macs": target_macs,
            "flops": target_flops,
            "latency_ms": target_latency_ms,
        },
        latency,
        align,
        input_shapes,
    )
    groups = tied_groups(model, tied)
    choice = _Choice(model, [group if reopen else _open_units(model, group) for group in groups])
    keys = unit_keys(model, choice.groups, scores, ranking, norm)
    choice.sort(keys)
    hears = Liveness(model, budget.edges)
    widths = [widths_of(group, round_to, min_channels, min_share) for group in choice.groups]
    if min_channels == 0:
        widths = _kept_alive(choice, widths, keys, hears)
    order = descending(keys)[:, 0]
    prices: dict[Counts, float] = {}

    def price(counts: Counts) -> float:
        if counts not in prices:
            prices[counts] = budget.price(choice.masks(counts))
        return prices[counts]

    def refuse(least: float) -> KerasNasError:
        return KerasNasError(
            f"`target_{budget.what}` must be {least:,.6g} or more: what is left of '{model.name}' "
            f"with as few channels as `min_channels`, `min_share` and `round_to` allow. "
            f"Received: {budget.target:,.6g} (the full network has {budget.full:,.6g})"
        )

    counts = land(order, widths, price, budget.target, refuse)
    if not hears(choice.masks(counts)):
        raise KerasNasError(
            f"What `target_{budget.what}` leaves of '{model.name}' would no longer depend on its "
            "input: allow more, raise `min_share`, or leave `tied` on."
        )
    logger.info(
        "%s: %s of %s %s, target %s, with %d of %d units kept",
        model.name, scaled(price(counts)), scaled(budget.full), budget.what, scaled(budget.target),
        sum(counts), sum(w.units for w in widths),
    )  # fmt: skip
    choice.apply(counts)
    return Architecture.from_gates(
        model,
        method="importance",
        source=source,
        settings={
            f"target_{budget.what}": budget.target,
            "ranking": ranking,
            "norm": norm,
            "tied": tied,
            "min_channels": min_channels,
            "min_share": min_share,
            "round_to": round_to,
            "align": align,
        },
        seed=seed,
        align=align,
    )


def _check(min_channels: int, min_share: float, round_to: int) -> None:
    if min_channels < 0:
        raise UsageError(f"`min_channels` must be 0 or more. Received: min_channels={min_channels}")
    if not 0 <= min_share <= 1:
        raise UsageError(f"`min_share` must be from 0 to 1. Received: min_share={min_share}")
    if round_to < 1:
        raise UsageError(f"`round_to` must be 1 or more. Received: round_to={round_to}")


class _Choice:
    """Masks of a model's gates from how many units each group keeps."""

    def __init__(self, model: keras.Model, groups: Sequence[Group]):
        self.model = model
        self.groups = [group for group in groups if group.units]
        self._gates = {gate.name: gate for gate in gates.find(model) if is_channel_gate(gate)}
        self._best = [np.arange(group.units) for group in self.groups]

    def sort(self, keys: Sequence[np.ndarray]) -> None:
        """Says in which order the units of each group are kept."""
        self._best = [np.lexsort((np.arange(len(values)), -values)) for values in keys]

    def masks(self, counts: Counts) -> dict[str, np.ndarray]:
        """By the gate's name, bool `(channels,)`."""
        masks = {name: np.zeros(gate.channels, bool) for name, gate in self._gates.items()}
        for group, best, count in zip(self.groups, self._best, counts, strict=True):
            for name, channels in group.channels.items():
                masks[name][channels[best[:count]].reshape(-1)] = True
        return masks

    def apply(self, counts: Counts) -> None:
        """Sets the gates."""
        for name, mask in self.masks(counts).items():
            self._gates[name].set_mask(mask)


def _open_units(model: keras.Model, group: Group) -> Group:
    """The units of which no channel is closed by a gate in mode "hard"."""
    is_open = np.ones(group.units, bool)
    for gate in gates.find(model):
        if gate.name in group.channels and gate.mode == "hard":
            is_open &= gate.mask()[group.channels[gate.name]].all(axis=1)
    return group.take(is_open)


def _kept_alive(
    choice: _Choice, widths: Sequence[Widths], keys: Sequence[np.ndarray], hears: Liveness
) -> list[Widths]:
    """The widths with a least of one step where the network would fall apart without.

    The groups are given up one after the other, those with the lowest keys first.
    """
    least = [width.least for width in widths]
    may_go = [i for i, width in enumerate(widths) if width.least == 0]
    for i in may_go:
        least[i] = min(widths[i].step, widths[i].units)
    for i in sorted(may_go, key=lambda i: float(np.mean(keys[i]))):
        kept, least[i] = least[i], 0
        if not hears(choice.masks(tuple(least))):
            least[i] = kept
    return [dataclasses.replace(w, least=n) for w, n in zip(widths, least, strict=True)]
