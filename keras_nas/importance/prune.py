"""From scores and a budget to an Architecture, without a search."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_nas.architecture import Architecture
from keras_nas.costs import AlignPrices
from keras_nas.costs.costs import scaled
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.importance.budget import Budget, Latency
from keras_nas.importance.criteria import Scores, checked
from keras_nas.importance.group_masks import Choice, open_units
from keras_nas.importance.landing import Counts, Widths, land, widths_of
from keras_nas.importance.ranking import unit_keys
from keras_nas.surgery.gate_groups import tied_groups

logger = logging.getLogger(__name__)


def prune(
    model: keras.Model,
    scores: Scores,
    *,
    target_macs: float | str | None = None,
    target_flops: float | str | None = None,
    target_params: float | str | None = None,
    target_latency_ms: float | str | None = None,
    target_bytes: float | str | None = None,
    target_ram: float | str | None = None,
    latency: Latency | None = None,
    ranking: str = "layer",
    norm: str = "mean",
    tied: bool = True,
    min_channels: int = 1,
    min_share: float = 0.0,
    round_to: int = 1,
    reopen: bool = True,
    strict: bool = True,
    align: str = "auto",
    prices: AlignPrices | None = None,
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
        target_macs, target_flops, target_params, target_latency_ms: The budget: one of them or
            several, each a number or a share of the network with all gates open as `"0.5x"`. All
            are kept.
        target_bytes, target_ram: Further ones: bytes of the .tflite by format, such as
            `"int8:200k"`, and of its activations' arena by dtype, such as `"int8:0.5x"`.
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
        strict: False keeps the least network that there is where even that is over the budget,
            with a warning.
        align, prices: How surgery will align joins, as in `surgery.build`.
        input_shapes: Shapes to read the model at (batch axis included) where it leaves them open.
        source, seed: Recorded as they are; see `Architecture`.

    Raises:
        UsageError: If an argument is none of those allowed, or the scores do not fit the gates.
        KerasNasError: If even the least network is over the budget, and `strict`.
    """
    _check(min_channels, min_share, round_to)
    scores = checked(model, scores)
    targets = {
        "params": target_params,
        "macs": target_macs,
        "flops": target_flops,
        "latency_ms": target_latency_ms,
        "bytes": target_bytes,
        "ram": target_ram,
    }
    budget = Budget(model, targets, latency, align, input_shapes, prices)
    groups = tied_groups(model, tied)
    if not reopen:
        groups = [group for group in (open_units(model, g) for g in groups) if group.units]
    choice = Choice(model, groups, unit_keys(model, groups, scores, ranking, norm))
    widths = [widths_of(group, round_to, min_channels, min_share) for group in groups]
    if min_channels == 0:
        widths = choice.kept_alive(widths)
    choice.apply(_landed(model.name, choice, widths, budget, strict))
    settings = {
        **budget.settings(),
        "ranking": ranking,
        "norm": norm,
        "tied": tied,
        "min_channels": min_channels,
        "min_share": min_share,
        "round_to": round_to,
        "align": align,
        **({} if prices is None else {"align_prices": dataclasses.asdict(prices)}),
    }
    return Architecture.from_gates(
        model, method="importance", source=source, settings=settings, seed=seed, align=align,
        prices=prices, formats=budget.forms_of("bytes"), arenas=budget.forms_of("ram"),
    )  # fmt: skip


def _landed(
    name: str, choice: Choice, widths: Sequence[Widths], budget: Budget, strict: bool
) -> Counts:
    """How many units each group keeps under the budget."""
    least = tuple(w.nearest(0) for w in widths)

    def refused() -> str:
        left = "as few channels as `min_channels`, `min_share` and `round_to` allow"
        return budget.refusal(budget.costs(choice.masks(least)), left)

    def price(counts: Counts) -> float:
        return choice.price(counts, budget)

    if not strict and price(least) > 1:
        logger.warning("%s That least is kept.", refused())
        return least
    counts = land(choice.order, widths, price, 1.0, lambda _: KerasNasError(refused()))
    if not choice.hears(counts):
        raise KerasNasError(
            f"What {budget.named()} leaves of '{name}' would no longer depend on its input: "
            "allow more, raise `min_share`, or leave `tied` on."
        )
    costs = budget.costs(choice.masks(counts))
    reached = (
        f"{scaled(costs[what])} of {scaled(budget.full[what])} {what}, target {scaled(target)}"
        for what, target in budget.targets.items()
    )
    logger.info(
        "%s: %s, with %d of %d units kept",
        name, "; ".join(reached), sum(counts), sum(w.units for w in widths),
    )  # fmt: skip
    return counts


def _check(min_channels: int, min_share: float, round_to: int) -> None:
    if min_channels < 0:
        raise UsageError(f"`min_channels` must be 0 or more. Received: min_channels={min_channels}")
    if not 0 <= min_share <= 1:
        raise UsageError(f"`min_share` must be from 0 to 1. Received: min_share={min_share}")
    if round_to < 1:
        raise UsageError(f"`round_to` must be 1 or more. Received: round_to={round_to}")
