"""What is known of a tensor's channels under the present gates, inside a `tf.function`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

Mask = Any
"""bool `(channels,)`, or a scalar: NumPy where it is the same under all gates, else a tensor."""

Masks = Mapping[str, tf.Tensor]
"""By the gate's name in the graph, bool `(channels,)`."""


@dataclasses.dataclass(frozen=True, eq=False)
class Known:
    """What is known of a tensor's channels: `Channels` as tensors.

    Attributes:
        live: bool `(channels,)`: not a constant.
        constant: float32 `(channels,)`: the constant; anything where live. NumPy where it is the
            same under all gates and weights.
        zero: Whether, in every case, the constants are all 0.
    """

    live: Mask
    constant: Any
    zero: bool

    @property
    def always_live(self) -> bool:
        """Whether no channel is a constant, whatever the gates do."""
        return is_filled(self.live, True)

    @functools.cached_property
    def any_live(self) -> Mask:
        """Whether one is live."""
        return some(self.live)

    @functools.cached_property
    def nonzero(self) -> Mask:
        """Which are not always 0."""
        return self.live if self.zero else either(self.live, self.constant != 0)

    @functools.cached_property
    def any_nonzero(self) -> Mask:
        """Whether one is not always 0."""
        return self.any_live if self.nonzero is self.live else some(self.nonzero)


def settled(live: Mask, constant: Any, zero: bool = False) -> Known:
    """`Known` with what is not finite taken as live."""
    if zero or is_filled(live, True):
        return Known(live, np.zeros(live.shape[0], "float32"), True)
    if isinstance(constant, np.ndarray):
        constant = constant.astype("float32")
        live = either(live, ~np.isfinite(constant))
        return Known(live, constant, not np.nan_to_num(constant).any())
    constant = tf.cast(constant, tf.float32)
    return Known(either(live, ~tf.math.is_finite(constant)), constant, False)


def of_array(column: np.ndarray) -> Known:
    """What is known of channels that hold the numbers of an array; NaN is live."""
    constant = np.nan_to_num(column).astype("float32")
    return Known(np.isnan(column), constant, not constant.any())


def as_column(known: Known) -> tf.Tensor:
    """The constants with NaN where live, as `Channels` has them."""
    return tf.where(known.live, np.float32("nan"), known.constant)


def of_column(column: tf.Tensor) -> Known:
    """The inverse of `as_column`."""
    return settled(tf.math.is_nan(column), column)


def both(mask: Mask, other: Mask) -> Mask:
    """mask & other, where other may be a scalar."""
    if other is mask or is_filled(other, True) or is_filled(mask, False):
        return mask
    if is_filled(other, False):
        return np.zeros(mask.shape[0], bool)
    if is_filled(mask, True) and other.shape == mask.shape:
        return other
    return mask & other


def either(a: Mask, b: Mask) -> Mask:
    """a | b, of the same shape."""
    if a is b or is_filled(a, True) or is_filled(b, False):
        return a
    return b if is_filled(b, True) or is_filled(a, False) else a | b


def some(mask: Mask) -> Mask:
    """Whether one is true: a scalar."""
    return mask.any() if isinstance(mask, np.ndarray) else tf.reduce_any(mask)


def of_width(vector: Any, width: int) -> Any:
    """One entry as `width`; as it is where it has that many."""
    if vector.shape[0] == width:
        return vector
    broadcast = np.broadcast_to if isinstance(vector, np.ndarray) else tf.broadcast_to
    return broadcast(vector, [width])


def is_filled(mask: Mask, value: bool) -> bool:
    """Whether all of it is `value`, whatever the gates do."""
    return isinstance(mask, (np.ndarray, np.bool_)) and bool((mask == value).all())
