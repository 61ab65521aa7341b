"""Widths for a budget: the global width multiplier that DSO ends its search with."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import keras

from keras_nas.costs import count
from keras_nas.errors import KerasNasError

NEAR = 0.97
"""The share of the target that is near enough."""
GREATEST = 64.0
"""The largest multiplier that is tried."""


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
    last first, as long as that fits. Where this ends under 97 % of the target, one width is traded
    for another, step by step, as long as that comes nearer.

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
    found = _grown(scaled(low), price, target, round_to)
    while price(found) < NEAR * target:
        traded = [w for w in _trades(found, round_to) if price(found) < price(w) <= target]
        if not traded:
            break
        found = max(traded, key=price)
    return found


def _trades(widths: list[int], step: int) -> list[list[int]]:
    """One width narrower and another wider, by a multiple each, or the wider by two."""
    trades = []
    for narrower, wider, times in itertools.product(range(len(widths)), range(len(widths)), (1, 2)):
        if narrower != wider and widths[narrower] > step:
            trade = list(widths)
            trade[narrower] -= step
            trade[wider] += times * step
            trades.append(trade)
    return trades


def _grown(widths: list[int], price, target: float, round_to: int) -> list[int]:
    grew = True
    while grew:
        grew = False
        for position in reversed(range(len(widths))):
            wider = [w + round_to * (i == position) for i, w in enumerate(widths)]
            if price(wider) <= target:
                widths, grew = wider, True
                break
    return widths
