"""DNAL's gates made to cost just what they may: the channels with the highest s stay."""

from __future__ import annotations

import logging
from typing import Any

import keras

from keras_nas import gates
from keras_nas.errors import UsageError
from keras_nas.gates.find import is_channel_gate
from keras_nas.importance import prune
from keras_nas.search.align_prices import prices_of
from keras_nas.search.dnal_config import DnalConfig
from keras_nas.search.steering import budget_of, even_masks, latency_of
from keras_nas.search.units import Units

logger = logging.getLogger(__name__)

NEAR = 0.98
"""The share of the target from which on it counts as met."""


def check_reachable(supernet: keras.Model, config: DnalConfig) -> None:
    """Raises `UsageError` if even the least that each gate must keep is over a target."""
    budget = budget_of(supernet, config)
    least = budget.costs(even_masks(supernet, config, 0.0))
    if budget.price_of(least) > 1:
        left = (
            f"{config.round_to} channels of each gate, and a share of {config.min_share:g} "
            "(`min_share`), at the least"
        )
        raise UsageError(budget.refusal(least, left))


def land_on_target(supernet: keras.Model, config: DnalConfig) -> None:
    """Sets the gates, in mode "hard", to the channels with the highest s that the targets allow.

    Channels that meet at joins stay or go together, by the mean of their s.
    """
    learned = [gate for gate in gates.find(supernet) if is_channel_gate(gate)]
    scores = Units(supernet, learned).scores()
    targets: dict[str, Any] = {f"target_{what}": value for what, value in config.targets.items()}
    architecture = prune(
        supernet, scores, **targets,
        latency=latency_of(config), ranking="global",
        round_to=config.round_to, align=config.align, prices=prices_of(config),
        min_share=config.min_share, strict=False,
    )  # fmt: skip
    budget = budget_of(supernet, config)
    left = budget.costs({gate.name: gate.mask() for gate in gates.find(supernet)})
    what = budget.tightest(left)
    if left[what] < NEAR * min(budget.targets[what], budget.full[what]):
        logger.warning(
            "`target_%s`=%s: %s, the nearest under it that whole channels allow, is %.1f %% less",
            what, budget.spelt(what, budget.targets[what]), budget.spelt(what, left[what]),
            100 * (1 - left[what] / budget.targets[what]),
        )  # fmt: skip
    logger.info("%d channels kept", sum(map(len, architecture.kept_channels.values())))
