"""Costs to reach, as settings spell them: a number, or a share of the full network's cost."""

from __future__ import annotations

import dataclasses

from keras_nas.errors import UsageError

_UNITS = {"k": 1e3, "M": 1e6, "G": 1e9}


@dataclasses.dataclass(frozen=True)
class Target:
    """A cost to reach.

    Attributes:
        number: The cost in the resource's unit, or the share.
        is_share: Whether `number` is a share of the full network's cost.
        form: Of what form of the network, such as `"int8"`; empty where there is one only.
    """

    number: float
    is_share: bool = False
    form: str = ""

    def of(self, full: float) -> float:
        """The cost in the resource's unit, where the full network costs `full`."""
        return self.number * full if self.is_share else self.number


def parse_target(
    name: str, value: float | str, largest_share: float = 1.0, forms: tuple[str, ...] = ()
) -> Target:
    """A target: `"0.35x"` is that share of the full network's cost, and `3e6` or `"3M"` itself.

    Args:
        name: The setting's name, for messages.
        value: The setting.
        largest_share: The largest share that is allowed; above 1 where a network may grow.
        forms: What may stand before it with a colon, as in `"int8:200k"`; the first by default.

    Raises:
        UsageError: If it is neither, or not above 0, or a larger share, or of another form.
    """
    form, colon, text = str(value).strip().rpartition(":")
    if colon and form not in forms:
        raise UsageError(
            f"`{name}` must be of one of {forms}, as in {forms[0]}:200k. Received: {name}={value!r}"
            if forms
            else f"`{name}` must be a number or a share, as 0.5x. Received: {name}={value!r}"
        )
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS else (text, "")
    try:
        target = Target(
            float(number if unit else number.removesuffix("x")) * _UNITS.get(unit, 1.0),
            number.endswith("x"),
            form or next(iter(forms), ""),
        )
    except ValueError:
        target = Target(-1.0)
    most = largest_share if target.is_share else float("inf")
    if not 0 < target.number < float("inf") or target.number > most:
        raise UsageError(
            f"`{name}` must be a number above 0, or a share of the full network's as 0.5x; 200k "
            f"and 1.5M are numbers too. Received: {name}={value!r}"
        )
    return target


def is_given(value: float | str | None) -> bool:
    """Whether a setting asks for a target: 0, None and the empty text are for none."""
    return value not in (0, "", "0", None)
