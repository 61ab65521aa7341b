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

    The batch is where the original has it: on another axis, or with several rows a sample.

    Raises:
        KerasNasError: If the value's size in space is open, so that nothing says how large it is.
    """
    sizes, batch_axis = _sizes(value, reference)
    if None in sizes:
        raise KerasNasError(
            f"Every channel of '{value.source}' (shape {value.shape}) is constant and its size is "
            "open, so no smaller network with equal outputs can be written. Keep at least one "
            "channel of the gates before it, or build the model with a fixed input size."
        )
    shape = [1] * len(value.shape)
    shape[channels.axis] = int(wanted.sum())
    sizes[channels.axis] = 1
    row = channels.constants[wanted].astype(value.dtype).reshape(shape)
    if batch_axis is None:
        tensor = anchored(row, reference)
    else:
        shape = [-1 if axis == batch_axis else 1 for axis in range(len(shape))]
        axes = tuple(range(1, len(reference.shape)))
        zeros = ops.sum(ops.zeros_like(ops.cast(reference, value.dtype)), axis=axes)
        tensor = ops.reshape(zeros, shape) + row
    return ops.tile(tensor, sizes) if any(size != 1 for size in sizes) else tensor


def _sizes(value: Value, reference: keras.KerasTensor) -> tuple[list[int | None], int | None]:
    """The value's sizes, on the batch's axis those of one sample, and the batch's axis.

    A size that is open and is not the batch's stays `None`; so does the axis of a fixed batch.
    """
    sizes = list(value.shape)
    one, two = sample_shape(value, 1), sample_shape(value, 2)
    for axis, (rows, twice) in enumerate(zip(one, two, strict=True)):
        own = sizes[axis] is None and rows is not None and twice == 2 * rows
        if own and reference.shape[0] is None:
            sizes[axis] = rows
            return sizes, axis
    return sizes, None


def anchored(array: np.ndarray, reference: keras.KerasTensor) -> keras.KerasTensor:
    """An array as a tensor of the graph that `reference` (an input of the model) is part of."""
    zero = ops.sum(ops.zeros_like(ops.cast(reference, str(array.dtype))))
    return zero + array


def _offsets(channels: Channels, need: np.ndarray, missing: np.ndarray) -> np.ndarray:
    return np.where(missing, np.nan_to_num(channels.constants[need]), 0.0)
