"""What is known of the channels of one tensor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_nas.graph import Value


@dataclass(eq=False)
class Channels:
    """The channel axis of a value, and what each channel holds.

    Attributes:
        axis: The axis that channels lie on, counted from the front (the batch is 0).
        constants: float64, one entry a channel: the constant that the channel holds everywhere,
            or NaN where it is live.
    """

    axis: int
    constants: np.ndarray

    @property
    def live(self) -> np.ndarray:
        """bool, one entry a channel: not a known constant."""
        return np.isnan(self.constants)

    @property
    def count(self) -> int:
        return len(self.constants)

    def is_last(self, value: Value) -> bool:
        return self.axis == len(value.shape) - 1


def all_live(value: Value, axis: int | None = None) -> Channels | None:
    """Every channel live, on the last axis or `axis`; `None` where a tensor has no channel axis."""
    if axis is None:
        axis = len(value.shape) - 1
    count = value.shape[axis] if axis >= 1 else None
    return None if count is None else Channels(axis, np.full(count, np.nan))
