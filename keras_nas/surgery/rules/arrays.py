"""Arrays among an operation's arguments, beside the tensors of the graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_nas.graph import Node, Value
from keras_nas.graph.ir import values_in


def operands(node: Node) -> list[Value | np.ndarray]:
    """The values and the arrays (of one axis or more) that a call is given, in order."""
    return list(_walk((node.args, node.kwargs)))


def arrays(node: Node) -> list[np.ndarray]:
    """The arrays of one axis or more among a call's arguments; numbers are none."""
    return [operand for operand in operands(node) if not isinstance(operand, Value)]


def array_settings(operation: Any) -> dict[str, np.ndarray]:
    """The arrays that an operation was configured with, such as the bounds of `ops.clip`."""
    return {
        key: as_array(value)
        for key, value in vars(operation).items()
        if not key.startswith("_") and is_array(value)
    }


def map_operands(
    struct: Any, on_value: Callable[[Value], Any], on_array: Callable[[np.ndarray], Any]
) -> Any:
    """A structure of arguments with its values and arrays replaced; other leaves stay."""
    if isinstance(struct, Value):
        return on_value(struct)
    if is_array(struct):
        return on_array(as_array(struct))
    if isinstance(struct, dict):
        return {key: map_operands(part, on_value, on_array) for key, part in struct.items()}
    if isinstance(struct, (list, tuple)):
        parts = [map_operands(part, on_value, on_array) for part in struct]
        return tuple(parts) if isinstance(struct, tuple) else parts
    return struct


def is_array(leaf: Any) -> bool:
    """Whether it is a NumPy array, a tensor, a variable or nested lists, and not one number."""
    if isinstance(leaf, (list, tuple)):
        if not leaf or values_in(leaf):
            return False
        try:
            return np.asarray(leaf).dtype.kind in "biufc"
        except (TypeError, ValueError):
            return False
    return not isinstance(leaf, Value) and len(getattr(leaf, "shape", None) or ()) > 0


def as_array(leaf: Any) -> np.ndarray:
    """The numbers of an array, tensor, variable or nested lists."""
    if isinstance(leaf, (list, tuple)):
        return np.asarray(leaf)
    with tf.init_scope():  # it may be asked for while a function is traced
        return keras.ops.convert_to_numpy(leaf)


def fits(array: np.ndarray, rank: int, axis: int, count: int) -> bool:
    """Whether the array broadcasts against `count` channels on `axis` of a tensor of `rank`."""
    return array.ndim <= rank and _length(array, rank, axis) in (1, count)


def by_channel(array: np.ndarray, rank: int, axis: int, count: int) -> np.ndarray:
    """What the array holds in each channel: the number where it is one, else NaN.

    Worked example: [[1, 2], [1, 3]] with channels on its last axis is (1, NaN).

    Args:
        array: Broadcasts against a tensor of `rank` axes.
        rank: Number of axes of that tensor.
        axis: Its channel axis, counted from the front.
        count: Its number of channels.

    Returns:
        float64 `(count,)`.
    """
    if _length(array, rank, axis) == 1:
        columns = np.broadcast_to(array.reshape(1, -1), (count, array.size))
    else:
        columns = np.moveaxis(array, axis - rank + array.ndim, 0).reshape(count, -1)
    columns = columns.astype("float64")
    even = np.isfinite(columns[:, 0]) & (columns == columns[:, :1]).all(axis=1)
    return np.where(even, columns[:, 0], np.nan)


def take_channels(array: np.ndarray, rank: int, axis: int, mask: np.ndarray) -> np.ndarray:
    """The array for the channels of `mask` alone; as it is where it is the same for all."""
    if _length(array, rank, axis) != len(mask) or mask.all():
        return array
    return np.compress(mask, array, axis=axis - rank + array.ndim)


def collapsed(array: np.ndarray) -> np.ndarray:
    """The array with length 1 along each axis, but for the last, that it is constant along."""
    for axis in range(array.ndim - 1):
        first = array.take([0], axis=axis)
        if array.size and (array == first).all():
            array = first
    return array


def _length(array: np.ndarray, rank: int, axis: int) -> int:
    own = axis - rank + array.ndim
    return array.shape[own] if own >= 0 else 1


def _walk(struct: Any) -> Iterator[Value | np.ndarray]:
    if isinstance(struct, Value):
        yield struct
    elif is_array(struct):
        yield as_array(struct)
    elif isinstance(struct, dict):
        for part in struct.values():
            yield from _walk(part)
    elif isinstance(struct, (list, tuple)):
        for part in struct:
            yield from _walk(part)
