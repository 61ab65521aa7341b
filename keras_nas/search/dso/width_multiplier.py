"""Widths for a budget: the global width multiplier that DSO ends its search with."""

from __future__ import annotations

import heapq
import logging
import math
from collections.abc import Callable, Iterator, Sequence

import keras

from keras_nas.costs import count
from keras_nas.errors import KerasNasError

NEAR = 0.97
"""The share of the target that is near enough."""
NEARER = 0.99
"""The share of the target that the first of the neighbours are searched for."""
FIRST = 8
"""So many neighbours are searched for `NEARER`, the ones after them for `NEAR`."""
MOST = 300
"""The most neighbours that are counted."""
GREATEST = 64.0
"""The largest multiplier that is tried."""

logger = logging.getLogger(__name__)

Price = Callable[[Sequence[int]], float]


def solve_widths(
    build: Callable[[Sequence[int]], keras.Model],
    widths: Sequence[int],
    target: float,
    cost: str = "macs",
    round_to: int = 1,
) -> list[int]:
    """Multiplies all widths by one number so that the network costs what it may.

    Each width is rounded to a multiple of `round_to` by itself. Of the multipliers, the largest is
    taken whose network costs no more than `target`; then single widths grow by one multiple, the
    last first, as long as that fits.

    Narrow networks can miss a target so: of 10 channels, one is a tenth. Where this ends under 99 %
    of the target, lists of widths that cost about as much are counted, those nearest to the common
    multiplier first, and the best is taken: the search ends at 99 %, after 8 lists at 97 %. A
    warning says so where nothing from 97 % to 100 % of the target was found.

    Example:

    ```python
    widths = solve_widths(found.build, found.widths, target=600e6)
    ```

    Args:
        build: Gives a network for a list of widths.
        widths: The widths at multiplier 1.
        target: The cost wanted.
        cost: `"macs"` or `"params"`.
        round_to: Widths are multiples of this.

    Returns:
        The widths.

    Raises:
        KerasNasError: If the narrowest network costs more than the target, or the widest less.
    """
    known: dict[tuple[int, ...], float] = {}

    def price(candidate: Sequence[int]) -> float:
        key = tuple(candidate)
        if key not in known:
            known[key] = getattr(count(build(list(key))), cost)
        return known[key]

    found, multiplier = _multiplied(widths, price, target, cost, round_to)
    found = _grown(found, price, target, round_to)
    ideal = [multiplier * width for width in widths]
    for number, near in enumerate(_neighbours(found, ideal, price, target, round_to)):
        if price(found) >= (NEARER if number < FIRST else NEAR) * target:
            break
        if number == MOST:
            break
        if price(found) < price(near) <= target:
            found = near
    if price(found) < NEAR * target:
        logger.warning(
            "`target_%s`: the nearest network that was found costs %.0f, %.1f %% under the target "
            "%.0f, at widths %s.",
            cost, price(found), 100 * (1 - price(found) / target), target, found,
        )  # fmt: skip
    return found


def _multiplied(
    widths: Sequence[int], price: Price, target: float, cost: str, round_to: int
) -> tuple[list[int], float]:
    """The widths at the largest multiplier that the target allows, and that multiplier."""

    def scaled(multiplier: float) -> list[int]:
        return [max(1, round(multiplier * w / round_to)) * round_to for w in widths]

    low, high = 0.0, 1.0
    if price(scaled(low)) > target:
        raise KerasNasError(
            f"`target_{cost}` cannot be met: at widths {scaled(low)} the network still has "
            f"{price(scaled(low)):,.0f}. Received: target_{cost}={target:,.0f}"
        )
    while price(scaled(high)) <= target:
        low, high = high, 2 * high
        if high > GREATEST:
            raise KerasNasError(
                f"`target_{cost}` cannot be met: at {low:g} times the width the network has "
                f"{price(scaled(low)):,.0f}. Received: target_{cost}={target:,.0f}"
            )
    while scaled(low) != scaled(high) and high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (middle, high) if price(scaled(middle)) <= target else (low, middle)
    return scaled(low), high


def _grown(widths: list[int], price: Price, target: float, round_to: int) -> list[int]:
    grew = True
    while grew:
        grew = False
        for position in reversed(range(len(widths))):
            wider = [w + round_to * (i == position) for i, w in enumerate(widths)]
            if price(wider) <= target:
                widths, grew = wider, True
                break
    return widths


def _neighbours(
    start: list[int], ideal: Sequence[float], price: Price, target: float, step: int
) -> Iterator[list[int]]:
    """Lists of widths along the line where the cost is the target, the nearest to `ideal` first.

    A list that costs too much leads to those with one width narrower, another to those with one
    width wider. The distance is that of the widths' logarithms.
    """

    def distance(widths: Sequence[int]) -> float:
        return sum(math.log(w / i) ** 2 for w, i in zip(widths, ideal, strict=True))

    waiting, seen = [(distance(start), start)], {tuple(start)}
    while waiting:
        _, widths = heapq.heappop(waiting)
        yield widths
        change = -step if price(widths) > target else step
        for position in range(len(widths)):
            near = [w + change * (i == position) for i, w in enumerate(widths)]
            if near[position] > 0 and tuple(near) not in seen:
                seen.add(tuple(near))
                heapq.heappush(waiting, (distance(near), near))
