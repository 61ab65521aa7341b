"""Reading whatever users keep their data in, as plain batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from export.errors import ExportError


def batches(data: Any, input_names: Sequence[str]) -> Iterator[tuple[list[np.ndarray], Any]]:
    """Yields (inputs, targets) for every batch of `data`.

    Args:
        data: an array of inputs; a pair of arrays (inputs, targets); or an iterable of batches
            (a `tf.data.Dataset`, a `keras.utils.PyDataset`, a generator), each an array, a
            dictionary by input name, or a tuple (inputs, targets[, weights]) as in `fit`.
        input_names: the model's inputs, in the order of the returned lists.

    Returns:
        An iterator of (list of float or integer arrays with a leading batch axis, targets or
        None).
    """
    if _is_array(data):
        yield _inputs(data, input_names), None
    elif isinstance(data, tuple) and len(data) == 2 and all(map(_is_array, data)):
        yield _inputs(data[0], input_names), np.asarray(data[1])
    elif isinstance(data, Iterable) and not isinstance(data, (dict, str)):
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


def rows(data: Any, input_names: Sequence[str], limit: int) -> list[list[np.ndarray]]:
    """Returns the first `limit` samples of `data`, each a list of arrays of shape (1, …)."""
    found: list[list[np.ndarray]] = []
    for inputs, _ in batches(data, input_names):
        for row in range(len(inputs[0])):
            if len(found) == limit:
                return found
            found.append([array[row : row + 1] for array in inputs])
    if not found:
        raise ExportError("The data holds no sample.")
    return found


def _inputs(x: Any, names: Sequence[str]) -> list[np.ndarray]:
    if isinstance(x, dict):
        missing = sorted(set(names) - set(x))
        if missing:
            raise ExportError(
                f"The data must hold every input of the model; {missing} are missing. "
                f"Received: {sorted(x)}"
            )
        return [np.asarray(x[name]) for name in names]
    arrays = [np.asarray(part) for part in x] if isinstance(x, (list, tuple)) else [np.asarray(x)]
    if len(arrays) != len(names):
        raise ExportError(
            f"The data must hold one array for each of the model's inputs {list(names)}. "
            f"Received: {len(arrays)} arrays"
        )
    return arrays


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype") and hasattr(value, "__array__")
