"""How many units each group keeps, so that the network costs just what it may."""

from __future__ import annotations

import dataclasses
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
    refused: set[int] = set()
    while price(found) < ENOUGH * target:
        for group in _next_groups(found, order, widths, refused):
            wider = list(found)
            wider[group] = widths[group].next(found[group])
            if price(tuple(wider)) <= target:
                found = tuple(wider)
                break
            refused.add(group)
        else:
            break
    return found


def _next_groups(found: Counts, order, widths, refused: set[int]) -> Iterator[int]:
    """The groups that may be wider, by where in the order their next unit stands."""
    left = list(found)
    for group in order.tolist():
        if left[group] > 0:
            left[group] -= 1
        elif left[group] == 0:
            left[group] = -1
            if group not in refused and widths[group].next(found[group]) > found[group]:
                yield group
