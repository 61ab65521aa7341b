"""What is known of a tensor's channels under the present gates, inside a `tf.function`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

Masks = Mapping[str, tf.Tensor]
"""By the gate's name in the graph, bool `(channels,)`."""


class Known(NamedTuple):
    """What is known of a tensor's channels: `Channels` as tensors.

    Attributes:
        live: bool `(channels,)`: not a constant.
        constant: float32 `(channels,)`: the constant; 0 where live.
        zero: Whether, in every case, the constants are all 0.
    """

    live: tf.Tensor
    constant: tf.Tensor
    zero: bool


def settled(live: tf.Tensor, constant: tf.Tensor, zero: bool = False) -> Known:
    """`Known` with what is not finite taken as live."""
    constant = tf.cast(constant, tf.float32)
    live |= ~tf.math.is_finite(constant)
    return Known(live, tf.where(live, 0.0, constant), zero)


def of_array(column: np.ndarray) -> Known:
    """What is known of channels that hold the numbers of an array; NaN is live."""
    constant = np.nan_to_num(column).astype("float32")
    return Known(tf.constant(np.isnan(column)), tf.constant(constant), not constant.any())


def as_column(known: Known) -> tf.Tensor:
    """The constants with NaN where live, as `Channels` has them."""
    return tf.where(known.live, np.float32("nan"), known.constant)


def of_column(column: tf.Tensor) -> Known:
    """The inverse of `as_column`."""
    return settled(tf.math.is_nan(column), column)
