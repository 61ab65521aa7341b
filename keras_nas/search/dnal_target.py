"""DNAL's gates made to cost just what they may: the channels with the highest s stay."""

from __future__ import annotations

import logging
import math
from typing import Any

import keras
import numpy as np

from keras_nas import gates
from keras_nas.errors import UsageError
from keras_nas.importance import Latency, prune
from keras_nas.importance.budget import Budget
from keras_nas.importance.channel_paths import is_channel_gate
from keras_nas.search.dnal_config import DnalConfig
from keras_nas.search.units import Units

logger = logging.getLogger(__name__)

NEAR = 0.98
"""The share of the target from which on it counts as met."""


def check_reachable(supernet: keras.Model, config: DnalConfig) -> None:
    """Raises `UsageError` if even the least that each gate must keep is over the target."""
    budget = _budget(supernet, config)
    least = budget.price(
        {
            gate.name: np.arange(gate.channels)
            < max(config.round_to, math.ceil(config.min_share * gate.channels - 1e-9))
            for gate in gates.find(supernet)
        }
    )
    if least > budget.target:
        raise UsageError(
            f"`target_{budget.what}` must be {least:,.6g} or more: what is left of "
            f"'{supernet.name}' with {config.round_to} channels of each gate, and a share of "
            f"{config.min_share:g} (`min_share`), at the least. "
            f"Received: {budget.target:,.6g} (the full network has {budget.full:,.6g})"
        )


def land_on_target(supernet: keras.Model, config: DnalConfig) -> None:
    """Sets the gates, in mode "hard", to the channels with the highest s that the target allows.

    Channels that meet at joins stay or go together, by the mean of their s.
    """
    learned = [gate for gate in gates.find(supernet) if is_channel_gate(gate)]
    scores = Units(supernet, learned).scores()
    target: dict[str, Any] = {f"target_{what}": value for what, value in _target(config).items()}
    architecture = prune(
        supernet, scores, **target, latency=_latency(config), ranking="global",
        round_to=config.round_to, align=config.align, min_share=config.min_share,
    )  # fmt: skip
    budget = _budget(supernet, config)
    left = budget.price({gate.name: gate.mask() for gate in gates.find(supernet)})
    if left < NEAR * min(budget.target, budget.full):
        logger.warning(
            "`target_%s`=%s: %s, the nearest under it that whole channels allow, is %.1f %% less",
            budget.what, f"{budget.target:,.6g}", f"{left:,.6g}", 100 * (1 - left / budget.target),
        )  # fmt: skip
    logger.info("%d channels kept", sum(map(len, architecture.kept_channels.values())))


def _target(config: DnalConfig) -> dict[str, float | str]:
    """The one target, by its resource."""
    assert config.targeted is not None
    return {config.targeted: getattr(config, f"target_{config.targeted}")}


def _latency(config: DnalConfig) -> Latency | None:
    return Latency.load(config.latency_table, config.interpolate)


def _budget(supernet: keras.Model, config: DnalConfig) -> Budget:
    return Budget(supernet, _target(config), _latency(config), config.align)
