"""Masks whose widths are multiples, of gates and of what is left where gates' channels meet."""

from __future__ import annotations

import math
from collections.abc import Mapping

import keras
import numpy as np

from keras_nas.costs.align_prices import AlignPrices
from keras_nas.errors import UsageError
from keras_nas.gates.find import find, is_channel_gate
from keras_nas.layers import Gate, STEGate
from keras_nas.record import ArchitectureRecord
from keras_nas.surgery.build import make_plan
from keras_nas.surgery.gate_groups import Group, tied_groups

Masks = Mapping[str, np.ndarray]
"""By the gate's name, bool `(channels,)`."""


class Rounding:
    """Moves the masks of a model's gates to widths that kernels like.

    A gate that keeps a channel at all keeps the multiple that is nearest to its number; see
    `rounded_mask`. Where the channels of several gates meet (an addition, a multiplication, a
    depthwise convolution), the tensor holds what any of them keeps: with `streams` that union is
    brought to the next multiple instead, by the channels with the highest mean score, and each of
    the gates keeps all of it, so that nothing has to be aligned. A gate that keeps nothing stays
    out, with its branch. Channels that a grouped convolution ties and operations of mixed layers,
    which are ways round each other, are rounded gate by gate.

    Worked example: gates of 16 channels that meet keep 9 and 10, of which they share 6. The stream
    would hold 13; rounded to 8 both keep 16. Gate by gate each would keep 8, of a stream of 8 to
    16.

    Args:
        model: A gated functional model.
        round_to: The multiple.
        streams: Whether it holds for the union where gates meet.
        align, prices: How surgery will align joins, as in `surgery.build`.

    Raises:
        UsageError: If `round_to` is below 1.
    """

    def __init__(
        self,
        model: keras.Model,
        round_to: int,
        streams: bool = True,
        align: str = "auto",
        prices: AlignPrices | None = None,
    ):
        if round_to < 1:
            raise UsageError(f"`round_to` must be 1 or more. Received: round_to={round_to}")
        self._model = model
        self._round_to = round_to
        self._align = align
        self._prices = prices
        self._gates = {gate.name: gate for gate in find(model) if is_channel_gate(gate)}
        mixed = any(isinstance(g, STEGate) and g.mixed_layer for g in self._gates.values())
        together = streams and round_to > 1 and len(self._gates) > 1 and not mixed
        groups = [g for g in tied_groups(model) if _stays_whole(g)] if together else []
        self._meeting = {name for g in groups if len(g.channels) > 1 for name in g.channels}
        self._groups = [group for group in groups if group.channels.keys() & self._meeting]

    def masks(self, masks: Masks | None = None) -> dict[str, np.ndarray]:
        """The rounded masks.

        Args:
            masks: What is rounded; by default the gates' hard masks, all of one that is off.
        """
        present = {
            name: np.ones(gate.channels, bool) if gate.mode == "off" else gate.mask()
            for name, gate in self._gates.items()
        }
        found = present if masks is None else {**present, **masks}
        for name in found.keys() - self._meeting:
            found[name] = rounded_mask(self._gates[name], self._round_to, found[name])
        if self._groups:
            held = self._held(found)
            for group in self._groups:
                self._open(group, found, held)
        return found if masks is None else {name: found[name] for name in masks}

    def _held(self, masks: Masks) -> dict[str, np.ndarray]:
        """By each gate that meets another, which of its channels the small network holds there."""
        record = ArchitectureRecord(
            kept_channels={name: np.flatnonzero(mask).tolist() for name, mask in masks.items()},
            channels={name: gate.channels for name, gate in self._gates.items()},
        )
        plan = make_plan(self._model, record, align=self._align, prices=self._prices)
        held = {name: np.zeros(self._gates[name].channels, bool) for name in self._meeting}
        for name, calls in plan.graph.calls().items():
            for mask in [plan.held[call.outputs[0]] for call in calls if name in held]:
                held[name] |= True if mask is None else mask
        return held

    def _open(self, group: Group, masks: dict[str, np.ndarray], held: Masks) -> None:
        """Opens the units of a group that stay anywhere in it, and more up to a multiple."""
        members = {name: c for name, c in group.channels.items() if masks[name].any()}
        if not members:
            return
        stay = [(masks[name] & held[name])[c].any(axis=1) for name, c in members.items()]
        everywhere = [masks[name][c].all(axis=1) for name, c in members.items()]
        kept = np.any(stay, axis=0) | np.all(everywhere, axis=0)
        step = group.step(self._round_to)
        target = min(math.ceil(kept.sum() / step) * step, group.units)
        scores = {name: np.asarray(self._gates[name].scores()) for name in members}
        worth = np.mean([scores[name][c].mean(axis=1) for name, c in members.items()], axis=0)
        order = np.lexsort((np.arange(group.units), -worth, ~kept))
        for name, channels in members.items():
            masks[name] = masks[name].copy()
            masks[name][channels[order[:target]].reshape(-1)] = True


def _stays_whole(group: Group) -> bool:
    """Whether a unit is one channel of some gate: then surgery keeps it whole in any case."""
    return min(channels.shape[1] for channels in group.channels.values()) == 1


def rounded_mask(gate: Gate, round_to: int, mask: np.ndarray) -> np.ndarray:
    """A gate's mask, its size moved to the nearest multiple by the gate's own order.

    Worked example: scores (3, 1, −1, 2, −2) keep channels 0, 1 and 3; rounded to 2, the nearest
    multiple of 3 is 4 (a half rounds up), so the next best, channel 2, stays too.
    """
    kept = int(mask.sum())
    if round_to == 1 or kept == 0:
        return mask
    target = max(int(np.floor(kept / round_to + 0.5)) * round_to, round_to)
    target = min(target, gate.channels)
    order = np.lexsort((np.arange(gate.channels), -np.asarray(gate.scores()), ~mask))
    rounded = np.zeros_like(mask)
    rounded[order[:target]] = True
    return rounded
