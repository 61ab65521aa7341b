"""Bringing a tensor that holds some channels to exactly the channels that a reader wants."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_nas.errors import KerasNasError
from keras_nas.graph import Value
from keras_nas.graph.sample_shapes import sample_shape
from keras_nas.surgery.channels import Channels


def align(
    tensor: keras.KerasTensor, channels: Channels, held: np.ndarray, wanted: np.ndarray
) -> tuple[keras.KerasTensor, np.ndarray]:
    """Gathers the wanted channels; those the tensor does not hold come in as zeros.

    Worked example: a tensor that holds channels (0, 2), asked for (0, 1, 2, 3), is padded by one
    zero and gathered at places (0, 2, 1, 2).

    Args:
        tensor: Holds the channels of `held` in ascending order; at least one.
        channels: What is known of the original value.
        held, wanted: bool, one entry a channel of the original.

    Returns:
        The tensor that holds `wanted`, and the constants still to be added to its channels.
    """
    axis = channels.axis
    have, need = np.flatnonzero(held), np.flatnonzero(wanted)
    missing = ~held[need]
    places = np.searchsorted(have, need)
    places[missing] = len(have)
    lacking = int(missing.sum())
    if lacking:
        body = len(need) - lacking
        at_the_end = missing[body:].all() and np.array_equal(places[:body], np.arange(len(have)))
        tensor = _pad(tensor, axis, lacking if at_the_end else 1)
        if at_the_end:
            return tensor, _offsets(channels, need, missing)
    start = int(places[0])
    if np.array_equal(places, np.arange(start, start + len(need))):
        if len(need) != tensor.shape[axis]:
            key = [slice(None)] * len(tensor.shape)
            key[axis] = slice(start, start + len(need))
            tensor = tensor[tuple(key)]
    else:
        tensor = ops.take(tensor, places.astype("int32"), axis=axis)
    return tensor, _offsets(channels, need, missing)


def _pad(tensor: keras.KerasTensor, axis: int, width: int) -> keras.KerasTensor:
    padding = [(0, 0)] * len(tensor.shape)
    padding[axis] = (0, width)
    return ops.pad(tensor, padding)


def constant_tensor(
    value: Value, channels: Channels, wanted: np.ndarray, reference: keras.KerasTensor
) -> keras.KerasTensor:
    """A tensor of nothing but constants, with the batch of `reference` (an input of the model).

    Where rows were folded into the batch, it has as many rows for each sample as the original.

    Raises:
        KerasNasError: If the value's size in space is open, so that nothing says how large it is,
            or its batch is not on the first axis.
    """
    rows = _rows_a_sample(value, reference)
    sizes = [size for size in (rows, *value.shape[1:]) if size is not None]
    if len(sizes) < len(value.shape):
        moved = "" if rows is None or value.shape[0] is None else " beside its first axis"
        raise KerasNasError(
            f"Every channel of '{value.source}' (shape {value.shape}) is constant and its size is "
            f"open{moved}, so no smaller network with equal outputs can be written. Keep at least "
            "one channel of the gates before it, or build the model with a fixed input size."
        )
    sizes[channels.axis] = 1
    shape = [1] * len(value.shape)
    shape[channels.axis] = int(wanted.sum())
    row = channels.constants[wanted].astype(value.dtype).reshape(shape)
    if value.shape[0] is not None:
        tensor = anchored(row, reference)
    else:
        axes = tuple(range(1, len(reference.shape)))
        batch = ops.sum(ops.zeros_like(ops.cast(reference, value.dtype)), axis=axes)
        tensor = ops.reshape(batch, [-1] + [1] * (len(shape) - 1)) + row
    return ops.tile(tensor, sizes) if any(size != 1 for size in sizes) else tensor


def _rows_a_sample(value: Value, reference: keras.KerasTensor) -> int | None:
    """How many rows (entries of the first axis) each sample has; `None` where that is not clear.

    Where their number does not depend on the batch, it is that number.
    """
    if value.shape[0] is not None:
        return value.shape[0]
    one, two = sample_shape(value, 1)[0], sample_shape(value, 2)[0]
    follows = reference.shape[0] is None and one is not None and two == 2 * one
    return one if follows else None


def anchored(array: np.ndarray, reference: keras.KerasTensor) -> keras.KerasTensor:
    """An array as a tensor of the graph that `reference` (an input of the model) is part of."""
    zero = ops.sum(ops.zeros_like(ops.cast(reference, str(array.dtype))))
    return zero + array


def _offsets(channels: Channels, need: np.ndarray, missing: np.ndarray) -> np.ndarray:
    return np.where(missing, np.nan_to_num(channels.constants[need]), 0.0)
