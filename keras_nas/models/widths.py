"""Checks of the per-layer lists that say how wide a backbone is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras_nas.errors import KerasNasError


def resolve_widths(widths: Any, default: Any, argument: str) -> Any:
    """`widths`, or `default` where it is None; both are (nested) lists of positive integers.

    Args:
        widths: What the caller gave.
        default: The original network's widths; they fix the nesting and the lengths.
        argument: Name of the argument, for the message.

    Raises:
        KerasNasError: If `widths` is not nested like `default`, or an entry is not an integer >= 1.

    Example:

    ```python
    resolve_widths([[12, 16], [7]], [[16, 16], [32]], "widths")  # [[12, 16], [7]]
    ```
    """
    if widths is None:
        return default
    _check(widths, default, argument, argument)
    return widths


def _check(widths, default, where, argument):
    if isinstance(default, int):
        if isinstance(widths, bool) or not isinstance(widths, int) or widths < 1:
            raise KerasNasError(
                f"`{argument}` must hold integers >= 1. Received: {where}={widths!r}"
            )
        return
    if not isinstance(widths, Sequence) or isinstance(widths, str) or len(widths) != len(default):
        raise KerasNasError(
            f"`{argument}` must be nested like the network's layers: {where} is a list of "
            f"{len(default)}. Received: {where}={widths!r}"
        )
    for index, (entry, original) in enumerate(zip(widths, default, strict=True)):
        _check(entry, original, f"{where}[{index}]", argument)
