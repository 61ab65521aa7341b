"""Widths for a budget: the global width multiplier that DSO ends its search with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras

from keras_nas.costs import count
from keras_nas.errors import KerasNasError

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
    last first, as long as that fits.

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
    return _grown(scaled(low), price, target, round_to)


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
