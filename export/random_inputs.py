"""Filling an interpreter with random inputs, for measurements."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_nas.errors import UsageError


def prepare(interpreter: Any, size: tuple[int, ...] | None, seed: int) -> None:
    """Allocates an interpreter's tensors and fills its inputs with random numbers.

    Raises:
        UsageError: The model's size is dynamic and no `size` is given.
    """
    for detail in interpreter.get_input_details():
        shape = [int(n) for n in detail["shape_signature"]]
        if -1 in shape[1:]:
            if not size or len(shape) != 4:
                raise UsageError(
                    f"The model's input `{detail['name']}` has the dynamic shape {shape}: say at "
                    "which `size` (height, width) to measure."
                )
            interpreter.resize_tensor_input(detail["index"], [1, *size, shape[3]], strict=True)
    interpreter.allocate_tensors()
    generator = np.random.default_rng(seed)
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], _random(detail, generator))


def _random(detail: dict[str, Any], generator: np.random.Generator) -> np.ndarray:
    dtype = np.dtype(detail["dtype"])
    if np.issubdtype(dtype, np.floating):
        return generator.uniform(-1, 1, detail["shape"]).astype(dtype)
    if dtype == np.bool_:
        return generator.random(detail["shape"]) < 0.5
    limits = np.iinfo(dtype)
    low, high = max(limits.min, -128), min(limits.max, 255)
    return generator.integers(low, high, detail["shape"], endpoint=True).astype(dtype)
