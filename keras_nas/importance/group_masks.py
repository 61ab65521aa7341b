"""Masks of a model's gates, as how many units each group of tied channels keeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np

from keras_nas import gates
from keras_nas.gates.find import is_channel_gate
from keras_nas.graph import read
from keras_nas.importance.budget import Budget
from keras_nas.importance.landing import Counts, Widths
from keras_nas.importance.ranking import descending
from keras_nas.layers import ScaledEdge
from keras_nas.surgery.dependence import Dependence
from keras_nas.surgery.gate_groups import Group


class Choice:
    """Which units stay when each group keeps so many of its best.

    Args:
        model: A gated functional model.
        groups: Of `tied_groups`, each with a unit or more.
        keys: What the units of each group are ordered by; see `unit_keys`.

    Attributes:
        order: The group of each unit, the one kept longest first: int `(units,)`.
    """

    def __init__(self, model: keras.Model, groups: Sequence[Group], keys: Sequence[np.ndarray]):
        self.groups = groups
        self.order = descending(keys)[:, 0]
        self._worth = [float(np.mean(values)) for values in keys]
        self._best = [np.lexsort((np.arange(len(values)), -values)) for values in keys]
        found = gates.find(model)
        self._gates = {gate.name: gate for gate in found if is_channel_gate(gate)}
        self._edges = {
            gate.name: np.ones(1, bool) if gate.mode == "off" else gate.mask()
            for gate in found
            if isinstance(gate, ScaledEdge)
        }
        self._dependence = Dependence(read(model), {gate.name: gate for gate in found})
        self._prices: dict[Counts, float] = {}

    def masks(self, counts: Counts) -> dict[str, np.ndarray]:
        """By the gate's name, bool `(channels,)`."""
        masks = {name: np.zeros(gate.channels, bool) for name, gate in self._gates.items()}
        for group, best, count in zip(self.groups, self._best, counts, strict=True):
            for name, channels in group.channels.items():
                masks[name][channels[best[:count]].reshape(-1)] = True
        return masks

    def apply(self, counts: Counts) -> None:
        """Sets the gates, in mode "hard"."""
        for name, mask in self.masks(counts).items():
            self._gates[name].set_mask(mask)

    def price(self, counts: Counts, budget: Budget) -> float:
        """`Budget.price` of the network that is left; each counts' is asked once."""
        if counts not in self._prices:
            self._prices[counts] = budget.price(self.masks(counts))
        return self._prices[counts]

    def hears(self, counts: Counts) -> bool:
        """Whether every output of the network that is left still depends on an input."""
        return self._dependence.holds({**self.masks(counts), **self._edges})

    def kept_alive(self, widths: Sequence[Widths]) -> list[Widths]:
        """The widths with a least of one step where the network would fall apart without.

        Groups that may go are given up one after the other, those that are worth least first.
        """
        least = [w.least or min(w.step, w.units) for w in widths]
        may_go = [i for i, w in enumerate(widths) if w.least == 0]
        for i in sorted(may_go, key=self._worth.__getitem__):
            kept, least[i] = least[i], 0
            if not self.hears(tuple(least)):
                least[i] = kept
        return [dataclasses.replace(w, least=n) for w, n in zip(widths, least, strict=True)]


def open_units(model: keras.Model, group: Group) -> Group:
    """The units of which no channel is closed by a gate in mode "hard"."""
    is_open = np.ones(group.units, bool)
    for gate in gates.find(model):
        if gate.name in group.channels and gate.mode == "hard":
            is_open &= gate.mask()[group.channels[gate.name]].all(axis=1)
    return group.take(is_open)
