"""Reading whatever users keep their data in, as plain batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from export.errors import ExportError

Shape = tuple[int | None, ...]


def batches(data: Any, input_names: Sequence[str]) -> Iterator[tuple[list[np.ndarray], Any]]:
    """Yields (inputs, targets) for every batch of `data`.

    Args:
        data: An array of inputs; a dictionary of arrays by input name; a pair (inputs, targets) of
            which the first is one of these or a list of arrays, one for each input; or an
            iterable of batches (a list, a `tf.data.Dataset`, a `keras.utils.PyDataset`, a
            generator), each an array, a dictionary by input name, or a tuple (inputs,
            targets[, weights]) as in `fit`.
        input_names: The model's inputs, in the order of the returned lists.

    Returns:
        An iterator of (list of float or integer arrays with a leading batch axis, targets or
        None); batches without a sample are left out.
    """
    for inputs, targets in _batches(data, input_names):
        if samples_in(inputs):
            yield inputs, targets


def _batches(data: Any, input_names: Sequence[str]) -> Iterator[tuple[list[np.ndarray], Any]]:
    if _is_array(data):
        yield _inputs(data, input_names), None
    elif isinstance(data, dict):
        yield _inputs(data, input_names, "Data must be an array or such a dictionary. "), None
    elif _is_pair(data, len(input_names)):
        yield _inputs(data[0], input_names), np.asarray(data[1])
    elif isinstance(data, Iterable) and not isinstance(data, (str, bytes)):
        for batch in data:
            x, targets, _ = keras.utils.unpack_x_y_sample_weight(batch)
            yield (
                _inputs(x, input_names),
                None if targets is None else keras.tree.map_structure(np.asarray, targets),
            )
    else:
        raise ExportError(
            "Data must be an array, a pair of arrays (inputs, targets) or an iterable of batches. "
            f"Received: {type(data).__name__}"
        )


def is_whole(data: Any, inputs: int) -> bool:
    """Whether `data` are arrays of all samples, not batches."""
    return _is_array(data) or isinstance(data, dict) or _is_pair(data, inputs)


def chunks(inputs: list[np.ndarray], shapes: Sequence[Shape]) -> list[list[np.ndarray]]:
    """Cuts a batch into pieces that a model of fixed shapes takes.

    Args:
        inputs: Arrays of one batch, one for each input.
        shapes: The model's inputs' shapes, whose first sizes are those of the pieces. An input of
            shape () is given whole to every piece.

    Returns:
        As many pieces as all inputs have whole ones for; what is left over is dropped. Of a batch
        smaller than one piece, the last sample is repeated. A last axis of 1 is added or taken
        away where the ranks differ by it, as Keras does.
    """
    inputs = [_ranked(array, len(shape)) for array, shape in zip(inputs, shapes, strict=True)]
    sizes = [(shape[0] or 1) if shape else None for shape in shapes]
    counts = [
        max(1, len(array) // size)
        for array, size in zip(inputs, sizes, strict=True)
        if size is not None and np.ndim(array)
    ]
    return [
        [
            array if size is None or not np.ndim(array) else _piece(array, number * size, size)
            for array, size in zip(inputs, sizes, strict=True)
        ]
        for number in range(min(counts, default=1))
    ]


def rows(
    data: Any, input_names: Sequence[str], shapes: Sequence[Shape], limit: int
) -> list[list[np.ndarray]]:
    """Returns pieces of `data` for the inputs' `shapes`, of about `limit` samples in all."""
    found: list[list[np.ndarray]] = []
    count = 0
    for inputs, _ in batches(data, input_names):
        for piece in chunks(inputs, shapes):
            if count >= limit:
                return found
            found.append(piece)
            count += samples_in(piece)
    if not found:
        raise ExportError("The data holds no sample.")
    return found


def samples_in(inputs: Sequence[np.ndarray]) -> int:
    """Returns how many samples a batch holds: the first size of its first array that has one."""
    return next((len(array) for array in inputs if np.ndim(array)), 1)


def _ranked(array: np.ndarray, rank: int) -> np.ndarray:
    if np.ndim(array) == rank - 1:
        return np.expand_dims(array, -1)
    if np.ndim(array) == rank + 1 and array.shape[-1] == 1:
        return np.squeeze(array, -1)
    return array


def _piece(array: np.ndarray, start: int, size: int) -> np.ndarray:
    piece = array[start : start + size]
    if len(piece) == size or not len(piece):
        return piece
    return np.concatenate([piece, np.repeat(piece[-1:], size - len(piece), axis=0)])


def _inputs(x: Any, names: Sequence[str], expected: str = "") -> list[np.ndarray]:
    if isinstance(x, dict):
        missing = sorted(set(names) - set(x))
        if missing:
            raise ExportError(
                f"{expected}The data must hold every input of the model; {missing} are missing. "
                f"Received: {sorted(x)}"
            )
        return [np.asarray(x[name]) for name in names]
    parts = keras.tree.flatten(x) if isinstance(x, (list, tuple)) else [x]
    arrays = [np.asarray(part) for part in parts]
    if len(arrays) != len(names):
        raise ExportError(
            f"The data must hold one array for each of the model's inputs {list(names)}. "
            f"Received: {len(arrays)} arrays"
        )
    return arrays


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype") and hasattr(value, "__array__")


def _is_pair(data: Any, inputs: int) -> bool:
    """Whether `data` is (inputs, targets) of all samples, not a tuple of batches."""
    if not isinstance(data, tuple) or len(data) != 2 or not _is_array(data[1]):
        return False
    if _is_array(data[0]):
        return True
    if isinstance(data[0], dict):
        return all(map(_is_array, data[0].values()))
    whole = isinstance(data[0], (list, tuple)) and all(map(_is_array, data[0]))
    return whole and len(data[0]) == inputs > 1
