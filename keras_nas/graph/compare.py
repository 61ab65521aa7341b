"""Comparing two layers, or a layer and a model, by what they answer to the same numbers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

OPEN_SIZE = 32
"""Stands in for an open size."""


def answers(function: Callable, args: tuple, kwargs: dict[str, Any]) -> list[np.ndarray]:
    """What a call gives, flat; variables that it assigns keep their values."""
    with keras.StatelessScope():
        results = keras.tree.flatten(function(*args, **kwargs))
    return [keras.ops.convert_to_numpy(result) for result in results]


def equal(found: list[np.ndarray], expected: list[np.ndarray]) -> bool:
    """Whether two lists of arrays are the same, number by number; NaN equals NaN."""
    return len(found) == len(expected) and all(
        a.shape == b.shape and a.dtype == b.dtype and bool(np.all((a == b) | ((a != a) & (b != b))))
        for a, b in zip(found, expected, strict=True)
    )


def stand_in(tensor: Any) -> Any:
    """Random numbers for a symbolic tensor (anything with a shape and a dtype), batch of 1.

    Floats are normal, integers 0 or 1, strings single letters.
    """
    random = np.random.default_rng(0)
    shape = [1] + [OPEN_SIZE if size is None else size for size in tensor.shape[1:]]
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    if dtype == "string":
        return keras.ops.convert_to_tensor(random.choice(["a", "b"], size=shape).tolist())
    if "float" in dtype:
        return keras.ops.cast(random.normal(size=shape), dtype)
    return keras.ops.cast(random.integers(0, 2, size=shape), dtype)


def inference(operation: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments with `training=False` where the operation's call takes it and none is given."""
    if "training" in inspect.signature(operation.call).parameters:
        return {"training": False, **kwargs}
    return kwargs
