"""The channels of all gates as units that open and close together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import keras
import numpy as np

from keras_nas.importance import tied_groups
from keras_nas.layers import Gate, STEGate

MARGIN = 1e-3
"""The score of a channel that is just open; one that is just closed has minus this."""


class Units:
    """Channels that are tied at joins and depthwise convolutions, with one gap: their mean.

    A gap is `Gate.scores`: s of a `ScaledSigmoidGate`, ψ_on − ψ_off of an `STEGate`; a unit is open
    where its gap is 0 or more. Of a supernet with mixed layers, whose operations choose for each
    channel by itself, each channel of each gate is a unit.

    Args:
        supernet: A gated model.
        gates: The gates that are learned.
        min_share: The smallest share of a group of tied gates that stays open. Gates of mixed
            layers, which are ways round each other, have no such floor.

    Attributes:
        tied: Whether units have channels of several gates.
    """

    def __init__(self, supernet: keras.Model, gates: Sequence[Gate], min_share: float = 0.0):
        self._gates = list(gates)
        mixed = {g.name for g in gates if isinstance(g, STEGate) and g.mixed_layer is not None}
        self.tied = not mixed
        ends = np.cumsum([gate.channels for gate in gates])
        first = dict(zip([gate.name for gate in gates], [0, *ends[:-1].tolist()], strict=True))
        self._unit = np.zeros(int(ends[-1]), int)
        self._groups: list[slice] = []
        self._floors: list[int] = []
        count = 0
        for group in tied_groups(supernet, self.tied):
            members = {name: c for name, c in group.channels.items() if name in first}
            if members:
                for name, channels in members.items():
                    self._unit[first[name] + channels] = (count + np.arange(group.units))[:, None]
                self._groups.append(slice(count, count + group.units))
                floor = 0 if members.keys() & mixed else math.ceil(min_share * group.units - 1e-9)
                self._floors.append(floor)
                count += group.units
        self._sizes = np.bincount(self._unit, minlength=count)

    def gaps(self) -> np.ndarray:
        """The mean gap of each unit: float64 `(units,)`."""
        return self.means(np.concatenate([gate.scores() for gate in self._gates]))

    def means(self, joined: np.ndarray) -> np.ndarray:
        """The mean over each unit of what channels of all gates have: float64 `(units,)`."""
        return np.bincount(self._unit, joined, len(self._sizes)) / self._sizes

    def assign(self, gaps: np.ndarray) -> None:
        """Gives every channel its unit's gap."""
        joined = gaps.astype("float32")[self._unit]
        for gate, scores in zip(self._gates, self.by_gate(joined).values(), strict=True):
            gate.assign_scores(scores)

    def by_gate(self, joined: np.ndarray) -> dict[str, np.ndarray]:
        """What stands for the channels of all gates, `(channels,)`, by the gate's name."""
        ends = np.cumsum([gate.channels for gate in self._gates])[:-1]
        parts = np.split(joined, ends)
        return {gate.name: part for gate, part in zip(self._gates, parts, strict=True)}

    def scores(self) -> dict[str, np.ndarray]:
        """By the gate's name, float64 `(channels,)`, of which a unit's sum is its mean gap."""
        return self.by_gate((self.gaps() / self._sizes)[self._unit])

    def floor_mask(self) -> np.ndarray:
        """The channels that stay at the least, the best of each group: bool `(channels,)`."""
        return self._held(self.gaps())[self._unit]

    def keep_floor(self) -> bool:
        """Opens the best units of each group that has fewer open than its floor; says if any."""
        gaps = self.gaps()
        lacking = self._held(gaps) & (gaps < 0)
        if lacking.any():
            self.assign(np.where(lacking, MARGIN, gaps))
        return bool(lacking.any())

    def close_until(self, cost: Callable[[np.ndarray], float], limit: float) -> None:
        """Lowers all gaps by one number, the least with which the cost is within the limit.

        Units of a floor stay open, whatever their gaps.

        Args:
            cost: What the network under a mask, bool `(channels of all gates,)`, costs.
            limit: The most that it may cost.
        """
        gaps = self.gaps()
        may_close = np.flatnonzero((gaps >= 0) & ~self._held(gaps))
        order = may_close[np.argsort(gaps[may_close], kind="stable")]

        def fits(closed: int) -> bool:
            still_open = gaps >= 0
            still_open[order[:closed]] = False
            return cost(still_open[self._unit]) <= limit

        closed = _fewest(len(order), fits)
        if closed:
            stays = gaps >= 0
            stays[order[:closed]] = False
            lowered = gaps - (gaps[order[closed - 1]] + MARGIN)
            self.assign(np.where(stays, np.maximum(lowered, MARGIN), lowered))

    def level(
        self, cost: Callable[[np.ndarray], float], limit: float, rates: np.ndarray | None = None
    ) -> float | None:
        """How far the gaps have to be lowered for the cost to be within the limit.

        Half way between what closes the last unit that has to and what closes the next one. Units
        of a floor stay open, whatever their gaps.

        Args:
            cost, limit: As in `close_until`.
            rates: How fast each unit's gap falls, float `(units,)` above 0; by default all by 1.

        Returns:
            The `amount` of `lower` that does it, or None where all units may stay open.
        """
        times = self.gaps() if rates is None else self.gaps() / rates
        order = np.flatnonzero(~self._held(self.gaps()))
        order = order[np.argsort(times[order], kind="stable")]

        def fits(closed: int) -> bool:
            stays = np.ones(len(times), bool)
            stays[order[:closed]] = False
            return cost(stays[self._unit]) <= limit

        closed = _fewest(len(order), fits)
        if not closed:
            return None
        ends = times[order[closed - 1 : closed + 1]]
        return float(ends.mean())

    def lower(self, amount: float, floor: float, rates: np.ndarray | None = None) -> None:
        """Lowers all gaps by a number, times each unit's rate where there are rates.

        Of each group's floor, none falls below `floor`.
        """
        gaps = self.gaps()
        lowered = gaps - amount * (1.0 if rates is None else rates)
        self.assign(np.where(self._held(gaps), np.maximum(lowered, floor), lowered))

    def _held(self, gaps: np.ndarray) -> np.ndarray:
        """The best units of each group, as many as its floor: bool `(units,)`."""
        held = np.zeros(len(gaps), bool)
        for group, floor in zip(self._groups, self._floors, strict=True):
            best = np.argsort(-gaps[group], kind="stable")[:floor]
            held[group.start + best] = True
        return held


def _fewest(most: int, fits: Callable[[int], bool]) -> int:
    """The least number from 0 that fits, or `most` where none below it does."""
    low, high = -1, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high
