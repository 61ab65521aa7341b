"""Scores as the start of what a search learns."""

from __future__ import annotations

import keras
import numpy as np

from keras_nas import gates
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.gates.find import is_channel_gate
from keras_nas.importance.criteria import Scores, checked
from keras_nas.importance.ranking import descending, unit_keys
from keras_nas.layers import Gate, ScaledSigmoidGate, STEGate
from keras_nas.surgery.gate_groups import tied_groups


def start_logits(
    model: keras.Model,
    scores: Scores,
    *,
    low: float = 0.05,
    high: float = 0.15,
    ranking: str = "normalized",
    norm: str = "mean",
    tied: bool = True,
) -> None:
    """Sets the gates' logits in the order of the scores, evenly spaced from `low` to `high`.

    The logit is s of a `ScaledSigmoidGate` and ψ_on − ψ_off of an `STEGate` (evenly about 0); above
    0 the gate is open. The defaults open every gate, and lie about where an `STEGate` starts by
    itself: those that are worth least close first. Modes are left as they are. Tied channels get
    the same logit, and a single unit gets the mean.

    Args:
        model: A gated functional model.
        scores: By the gate's name, one number a channel; see `score`.
        low: The logit of the channel that is worth least.
        high: The logit of the channel that is worth most.
        ranking, norm, tied: As in `prune`.

    Raises:
        UsageError: If `low` is over `high`, or the scores do not fit the gates.
        KerasNasError: If a gate is of another kind.
    """
    if not low <= high:
        raise UsageError(f"`low` must be at most `high`. Received: low={low}, high={high}")
    found = {gate.name: gate for gate in gates.find(model) if is_channel_gate(gate)}
    for gate in found.values():
        _check_kind(gate)
    groups = tied_groups(model, tied)
    order = descending(unit_keys(model, groups, checked(model, scores), ranking, norm))
    values = np.linspace(high, low, len(order)) if len(order) > 1 else [(low + high) / 2]
    logits = {name: np.zeros(gate.channels, "float32") for name, gate in found.items()}
    for (group, unit), value in zip(order, values, strict=True):
        for name, channels in groups[group].channels.items():
            logits[name][channels[unit]] = value
    for name, gate in found.items():
        gate.assign_scores(logits[name])


def _check_kind(gate: Gate) -> None:
    if isinstance(gate, (ScaledSigmoidGate, STEGate)):
        return
    raise KerasNasError(
        f"`start_logits` knows ScaledSigmoidGate and STEGate; gate '{gate.name}' is a "
        f"{type(gate).__name__}."
    )
