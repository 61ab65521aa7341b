"""Bringing a tensor that holds some channels to exactly the channels that a reader wants."""

from __future__ import annotations

from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from keras_nas.errors import KerasNasError
from keras_nas.graph import Value
from keras_nas.graph.sample_shapes import sample_shape
from keras_nas.surgery.channels import Channels


class Step(NamedTuple):
    """One operation that alignment writes.

    Attributes:
        what: "pad", "slice" or "gather".
        places: The places of the tensor before it that its output's channels come from; of a pad
            those behind its end are zeros.
    """

    what: str
    places: np.ndarray


def steps(held: np.ndarray, wanted: np.ndarray) -> list[Step]:
    """The operations that make a tensor of the channels `wanted` of one that holds `held`.

    Worked example: a tensor that holds channels (0, 2), asked for (0, 1, 2, 3), is padded by one
    zero and gathered at places (0, 2, 1, 2).

    Args:
        held, wanted: bool, one entry a channel of the original; one is held at least.
    """
    have, need = np.flatnonzero(held), np.flatnonzero(wanted)
    missing = ~held[need]
    places = np.searchsorted(have, need)
    places[missing] = len(have)
    lacking, width, found = int(missing.sum()), len(have), []
    if lacking:
        body = len(need) - lacking
        at_the_end = missing[body:].all() and np.array_equal(places[:body], np.arange(width))
        width += lacking if at_the_end else 1
        found.append(Step("pad", np.arange(width)))
        if at_the_end:
            return found
    if np.array_equal(places, np.arange(places[0], places[0] + len(need))):
        if len(need) != width:
            found.append(Step("slice", places))
    else:
        found.append(Step("gather", places))
    return found


def align(
    tensor: keras.KerasTensor, channels: Channels, held: np.ndarray, wanted: np.ndarray
) -> tuple[keras.KerasTensor, np.ndarray]:
    """Gathers the wanted channels (see `steps`); those the tensor does not hold come in as zeros.

    Args:
        tensor: Holds the channels of `held` in ascending order; at least one.
        channels: What is known of the original value.
        held, wanted: bool, one entry a channel of the original.

    Returns:
        The tensor that holds `wanted`, and the constants still to be added to its channels.
    """
    axis = channels.axis
    for what, places in steps(held, wanted):
        if what == "pad":
            tensor = _pad(tensor, axis, len(places) - tensor.shape[axis])
        elif what == "slice":
            key = [slice(None)] * len(tensor.shape)
            key[axis] = slice(int(places[0]), int(places[0]) + len(places))
            tensor = tensor[tuple(key)]
        else:
            tensor = ops.take(tensor, places.astype("int32"), axis=axis)
    need = np.flatnonzero(wanted)
    return tensor, _offsets(channels, need, ~held[need])


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
