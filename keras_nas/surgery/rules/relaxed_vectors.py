"""Vectors of FGNAS' relaxed counts: how far each channel is alive, or asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from keras_nas.surgery.channels import Channels

Vector = Any
"""float32 `(channels,)`: NumPy ones where nothing is gated, else a tensor."""

Factors = Mapping[str, tf.Tensor]
"""G by the gate's name in the graph, float32 `(channels,)`."""

Clip = Callable[[tf.Tensor], tf.Tensor]
"""h of FGNAS' Eq. (10)."""


def ones(channels: Channels | None) -> Vector:
    """Nothing gated: 1 for every channel; one entry where a tensor has no channel axis."""
    return np.ones(1 if channels is None else channels.count, "float32")


def times(a: Vector, b: Vector) -> Vector:
    """a · b."""
    if _is_ones(a):
        return b
    return a if _is_ones(b) else a * b


def union(parts: list[Vector], h: Clip) -> Vector:
    """h(Σ parts): what at least one of them has."""
    if len(parts) == 1:
        return parts[0]
    if all(isinstance(part, np.ndarray) for part in parts):
        return np.minimum(np.sum(parts, axis=0), 1.0).astype("float32")
    return h(tf.add_n([tf.convert_to_tensor(part) for part in parts]))


def broadcast(vector: Vector, width: int) -> Vector:
    """One entry as `width`; as it is where it has that many."""
    if vector.shape[0] == width:
        return vector
    return np.ones(width, "float32") if _is_ones(vector) else tf.broadcast_to(vector, (width,))


def repeat(vector: Vector, count: int) -> Vector:
    """Each entry `count` times."""
    if count == 1:
        return vector
    return gather(vector, np.repeat(np.arange(vector.shape[0]), count))


def gather(vector: Vector, places: np.ndarray) -> Vector:
    """The entries at `places`."""
    if np.array_equal(places, np.arange(vector.shape[0])):
        return vector
    return vector[places] if isinstance(vector, np.ndarray) else tf.gather(vector, places)


def concat(parts: list[Vector]) -> Vector:
    """The parts one behind the other."""
    if len(parts) == 1:
        return parts[0]
    if all(isinstance(part, np.ndarray) for part in parts):
        return np.concatenate(parts)
    return tf.concat(parts, axis=0)


def folded(vector: Vector, count: int, h: Clip) -> Vector:
    """The inverse of `repeat`: h of the sum of each `count` entries."""
    if count == 1:
        return vector
    return union([vector[start::count] for start in range(count)], h)


def scatter(vector: Vector, origin: np.ndarray, width: int, h: Clip) -> Vector:
    """The inverse of `gather`: h of the sum of what came from each of `width` places."""
    if np.array_equal(origin, np.arange(width)):
        return vector
    if isinstance(vector, np.ndarray):
        found = np.zeros(width, "float32")
        np.maximum.at(found, origin, vector)
        return found
    return h(tf.math.unsorted_segment_sum(vector, origin, width))


def _is_ones(vector: Vector) -> bool:
    return isinstance(vector, np.ndarray) and bool((vector == 1).all())
