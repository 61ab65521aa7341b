"""How many units each group keeps, so that the network costs just what it may."""

from __future__ import annotations

import bisect
import dataclasses
import functools
import heapq
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from keras_nas.errors import KerasNasError
from keras_nas.surgery.gate_groups import Group

Counts = tuple[int, ...]
"""For each group, how many of its units are kept."""

ENOUGH = 0.999
"""The share of the target at which no further unit is looked for."""


@dataclasses.dataclass(frozen=True)
class Widths:
    """Which numbers of units a group may keep.

    Attributes:
        units: All of them.
        step: Multiples of this, or all.
        least: The fewest.
    """

    units: int
    step: int
    least: int

    def nearest(self, count: int) -> int:
        """The allowed number that is nearest to `count`; a half rounds up."""
        rounded = math.floor(count / self.step + 0.5) * self.step
        return min(max(rounded, self.least), self.units)

    def next(self, count: int) -> int:
        """The next larger allowed number, or `count` itself where there is none."""
        return min((count // self.step + 1) * self.step, self.units)


def widths_of(group: Group, round_to: int, min_channels: int, min_share: float) -> Widths:
    """The allowed numbers: every gate keeps multiples of `round_to`, and the floor's channels."""
    per_unit = [channels.shape[1] for channels in group.channels.values()]
    step = group.step(round_to)
    floor = max(math.ceil(min_channels / n) for n in per_unit)
    floor = max(floor, math.ceil(min_share * group.units - 1e-9))
    return Widths(group.units, step, min(math.ceil(floor / step) * step, group.units))


def land(
    order: np.ndarray,
    widths: Sequence[Widths],
    price: Callable[[Counts], float],
    target: float,
    refuse: Callable[[float], KerasNasError],
) -> Counts:
    """The most units, in the order of their worth, that the target allows.

    The longest beginning of `order` that fits is bisected: so many of each group, rounded to its
    widths. What is then left under the target is given to the groups that come next in the order,
    one step at a time, until no group can take another or 99.9 % of the target is reached.

    Args:
        order: The group of each unit, the one kept longest first.
        widths: Of each group.
        price: What counts cost.
        target: The most that they may cost.
        refuse: Makes the error from the least price.

    Raises:
        KerasNasError: From `refuse`, if the least is over the target.
    """

    def counts(kept: int) -> Counts:
        raw = np.bincount(order[:kept], minlength=len(widths))
        return tuple(w.nearest(int(n)) for w, n in zip(widths, raw, strict=True))

    low, high = 0, len(order)
    least = price(counts(low))
    if least > target:
        raise refuse(least)
    if price(counts(high)) <= target:
        return counts(high)
    while high - low > 1:
        middle = (low + high) // 2
        if price(counts(middle)) <= target:
            low = middle
        else:
            high = middle
    return _filled(counts(low), order, widths, price, target)


def _filled(found: Counts, order, widths, price, target: float) -> Counts:
    """Takes the next steps while they fit; of those that cost little, many at a time."""
    places = [np.flatnonzero(order == group).tolist() for group in range(len(widths))]
    refused: set[int] = set()
    while True:
        steps = list(_next_steps(found, places, widths, refused))
        after = functools.partial(_after, found, steps)
        many = 1
        while many <= len(steps) and price(after(many)) < ENOUGH * target:
            many *= 2
        taken = bisect.bisect_left(
            range(len(steps) + 1), ENOUGH * target, many // 2, min(many, len(steps) + 1),
            key=lambda n: price(after(n)),
        )  # fmt: skip
        if taken > len(steps):
            return after(len(steps))
        if price(after(taken)) <= target:
            return after(taken)
        refused.add(steps[taken - 1][0])
        found = after(taken - 1)


def _next_steps(found: Counts, places, widths, refused: set[int]) -> Iterator[tuple[int, int]]:
    """Groups to be wider and what they then keep, by where in the order their next unit stands."""
    next_units = [
        (places[group][count], group)
        for group, count in enumerate(found)
        if count < len(places[group]) and group not in refused
    ]
    heapq.heapify(next_units)
    counts = list(found)
    while next_units:
        group = next_units[0][1]
        counts[group] = widths[group].next(counts[group])
        yield group, counts[group]
        if counts[group] < len(places[group]):
            heapq.heapreplace(next_units, (places[group][counts[group]], group))
        else:
            heapq.heappop(next_units)


def _after(found: Counts, steps: Sequence[tuple[int, int]], taken: int) -> Counts:
    return tuple({**dict(enumerate(found)), **dict(steps[:taken])}.values())
