"""Costs to reach, as settings spell them: a number, or a share of the full network's cost."""

from __future__ import annotations

import dataclasses

from keras_nas.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Target:
    """A cost to reach.

    Attributes:
        number: The cost in the resource's unit, or the share.
        is_share: Whether `number` is a share of the full network's cost.
    """

    number: float
    is_share: bool = False

    def of(self, full: float) -> float:
        """The cost in the resource's unit, where the full network costs `full`."""
        return self.number * full if self.is_share else self.number


def parse_target(name: str, value: float | str, largest_share: float = 1.0) -> Target:
    """A target: `"0.35x"` is that share of the full network's cost, and `3e6` or `"3e6"` itself.

    Args:
        name: The setting's name, for messages.
        value: The setting.
        largest_share: The largest share that is allowed; above 1 where a network may grow.

    Raises:
        UsageError: If it is neither, or not above 0, or a larger share.
    """
    text = str(value).strip()
    try:
        target = Target(float(text.removesuffix("x")), text.endswith("x"))
    except ValueError:
        target = Target(-1.0)
    most = largest_share if target.is_share else float("inf")
    if not 0 < target.number < float("inf") or target.number > most:
        raise UsageError(
            f"`{name}` must be a number above 0, or a share of the full network's as 0.5x. "
            f"Received: {name}={value!r}"
        )
    return target


def is_given(value: float | str) -> bool:
    """Whether a setting asks for a target: 0 and the empty text are for none."""
    return value not in (0, "", "0")
