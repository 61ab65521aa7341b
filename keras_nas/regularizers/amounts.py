"""The prices of all nodes times what each reads and writes, in few operations on long vectors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from keras_nas.graph import Node
from keras_nas.regularizers.prices import Price

Vector = Any
"""bool or float32 `(channels,)`: NumPy where it is the same under all gates, else a tensor."""


@dataclasses.dataclass(frozen=True, eq=False)
class Amounts:
    """What a node reads and writes.

    Attributes:
        read, written: The channels of the first input and of the first output; their sums count.
        alive: bool scalar, whether it is built at all.
        new_bias: bool scalar, whether constants make a bias that the layer had not.
        groups: float64 scalar, the groups that are left.
    """

    read: Vector
    written: Vector
    alive: Any = np.True_
    new_bias: Any = np.False_
    groups: Any = 1.0


def weighed(prices: Mapping[Node, Price], amounts: Mapping[Node, Amounts]) -> tf.Tensor:
    """Σ φ of Eq. (8) over all priced nodes: a float64 scalar.

    Each distinct vector is summed once, and all of them together.
    """
    vectors, found = _Vectors(), [amounts[node] for node in prices]
    written = np.array([vectors.place(each.written) for each in found], int)
    read = written.copy()
    for i, price in enumerate(prices.values()):
        if price.read or price.product:
            read[i] = vectors.place(found[i].read)
    sums = vectors.sums()
    of = {
        field.name: np.array([getattr(price, field.name) for price in prices.values()], "float64")
        for field in dataclasses.fields(Price)
    }
    by_vector = np.bincount(read, of["read"], len(vectors)) + np.bincount(
        written, of["written"], len(vectors)
    )
    total = tf.reduce_sum(by_vector * sums)
    at = np.flatnonzero(of["product"])
    if len(at):
        pairs = of["product"][at] * tf.gather(sums, read[at]) * tf.gather(sums, written[at])
        total += tf.reduce_sum(pairs / _stacked([found[i].groups for i in at]))
    at = np.flatnonzero(of["fixed"])
    if len(at):
        total += tf.reduce_sum(of["fixed"][at] * _stacked([found[i].alive for i in at]))
    at = np.flatnonzero(of["new_bias"])
    if len(at):
        gained = _stacked([found[i].new_bias for i in at]) * tf.gather(sums, written[at])
        total += tf.reduce_sum(of["new_bias"][at] * gained)
    return total


class _Vectors:
    """Vectors to be summed, each distinct one once."""

    def __init__(self):
        self._places: dict[int, int] = {}
        self._vectors: list[Vector] = []

    def __len__(self) -> int:
        return len(self._vectors)

    def place(self, vector: Vector) -> int:
        """Where `sums` has the vector's."""
        if id(vector) not in self._places:
            self._places[id(vector)] = len(self)
            self._vectors.append(vector)
        return self._places[id(vector)]

    def sums(self) -> tf.Tensor:
        """float64 `(len(self),)`."""
        known = np.array([np.sum(v) if isinstance(v, np.ndarray) else 0 for v in self._vectors])
        gated = [i for i, v in enumerate(self._vectors) if not isinstance(v, np.ndarray)]
        if not gated:
            return tf.constant(known, tf.float64)
        widths = [self._vectors[i].shape[0] for i in gated]
        joined = tf.cast(tf.concat([self._vectors[i] for i in gated], axis=0), tf.float64)
        sums = tf.math.unsorted_segment_sum(joined, np.repeat(gated, widths), len(self))
        return sums + known.astype("float64")


def _stacked(scalars: list) -> Any:
    """float64 `(len(scalars),)`, NumPy where all are."""
    if not any(tf.is_tensor(scalar) for scalar in scalars):
        return np.array(scalars, "float64")
    return tf.cast(tf.stack(scalars), tf.float64)
