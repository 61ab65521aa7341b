"""What a search steers by on the way to its targets: one resource that it can relax."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np

from keras_nas import gates
from keras_nas.choices import RESOURCES
from keras_nas.gates.find import is_channel_gate
from keras_nas.importance import Budget, Latency
from keras_nas.regularizers import Resource
from keras_nas.search.align_prices import prices_of
from keras_nas.search.counted_resource import make_resource
from keras_nas.search.dnal_config import DnalConfig
from keras_nas.search.fgnas.config import FgnasConfig
from keras_nas.targets import parse_target

logger = logging.getLogger(__name__)

STAND_INS = {"bytes": "params", "ram": "macs"}
"""What is steered by for a budget that has no gradient."""
HALVINGS = 10
"""How finely the even cut is looked for: to a thousandth of the channels."""

Settings = DnalConfig | FgnasConfig
Shapes = Sequence[tuple[int, ...]] | None


def budget_of(supernet: keras.Model, settings: Settings, input_shapes: Shapes = None):
    """The `Budget` of the targets that the settings give.

    Raises:
        KerasNasError: As `Budget`, or the latency table cannot be read.
    """
    latency, prices = latency_of(settings), prices_of(settings)
    return Budget(supernet, settings.targets, latency, settings.align, input_shapes, prices)


def latency_of(settings: Settings) -> Latency | None:
    """What a target in milliseconds is read off; None where there is no such target.

    Raises:
        KerasNasError: If the latency table cannot be read.
    """
    if "latency_ms" not in settings.targets:
        return None
    return Latency.load(settings.latency_table, settings.interpolate)


class Steering(NamedTuple):
    """What a search steers by.

    Attributes:
        resource: The resource.
        target: How much of it may be left in the end, in its unit; None where there is no target.
        budget: What must hold besides, where there are several targets, or one in what has no
            gradient; else None.
    """

    resource: Resource
    target: float | None
    budget: Budget | None = None


def steering(
    supernet: keras.Model,
    settings: Settings,
    otherwise: str = "",
    input_shapes: Shapes = None,
) -> Steering:
    """The resource that a search steers by, and how much of it may be left in the end.

    A single target in params, macs, flops or milliseconds is steered by itself. Of several, the one
    that asks for most: all layers give up the same share of their channels until all targets hold,
    and the target that held last is it. Bytes of a file are steered by params and the arena's bytes
    by macs, to what that even cut has of them.

    Args:
        supernet: A gated model.
        settings: With targets, or without.
        otherwise: The resource where there is no target.
        input_shapes: As in `Resource`.

    Raises:
        KerasNasError: As in `make_resource`.
    """
    if len(settings.targets) < 2 and all(what in RESOURCES for what in settings.targets):
        what, value = next(iter(settings.targets.items()), (otherwise, None))
        resource = make_resource(supernet, what, settings, input_shapes)
        if value is None:
            return Steering(resource, None)
        return Steering(resource, parse_target(f"target_{what}", value).of(resource.full()))
    budget = budget_of(supernet, settings, input_shapes)
    masks = _even_cut(supernet, settings, budget)
    asks = budget.tightest(budget.costs(masks))
    resource = make_resource(supernet, STAND_INS.get(asks, asks), settings, input_shapes)
    target = budget.targets[asks]
    if asks != resource.what:
        target = resource.cost(masks)
    logger.info("`target_%s` asks for most: steering to %.6g %s", asks, target, resource.what)
    return Steering(resource, target, budget)


def even_masks(supernet: keras.Model, settings: Settings, share: float):
    """The first channels of each gate: a share of them, and no fewer than the settings leave."""
    share = max(share, settings.min_share)
    return {
        gate.name: np.arange(gate.channels)
        < max(settings.round_to, math.ceil(share * gate.channels - 1e-9))
        for gate in gates.find(supernet)
        if is_channel_gate(gate)
    }


def _even_cut(supernet: keras.Model, settings: Settings, budget: Budget):
    """The masks of the largest share of all layers that keeps the budget."""
    low, high = 0.0, 1.0
    if budget.price_of(budget.full) <= 1:
        return even_masks(supernet, settings, high)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        fits = budget.price(even_masks(supernet, settings, middle)) <= 1
        low, high = (middle, high) if fits else (low, middle)
    return even_masks(supernet, settings, low)
