"""The prices that a search's settings name for surgery's joins."""

from __future__ import annotations

from typing import Any

from keras_nas.costs import AlignPrices


def prices_of(config: Any) -> AlignPrices | None:
    """The prices in the file that a configuration's `align_prices` names; None for the default.

    Raises:
        KerasNasError: The file cannot be read, or is no table of align prices.
    """
    return AlignPrices.load(config.align_prices) if config.align_prices else None
