"""Made-up inputs for a comparison without data: of each input's own type and values it can take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from export import tracing
from export.samples import Shape

_SAMPLES = 8
_PIXELS = 256


def random_batches(
    model: Any, shapes: Sequence[Shape], sizes: Sequence[tuple[int, int]] = (), seed: int = 0
) -> list[dict[str, np.ndarray]]:
    """Returns a batch of at least 8 samples by input name, or one for each of the sizes.

    Real numbers are uniform in [0, 1), truth values fair, integers below what the model's
    embeddings and encodings take, else below 256 or the type's end.

    Args:
        model: The model; it tells the inputs' types.
        shapes: The file's input shapes, with the batch that it runs at.
        sizes: (height, width) pairs for open ones.
        seed: Of the random numbers.
    """
    generator = np.random.default_rng(seed)
    names = tracing.input_names(model)
    known = getattr(model, "inputs", None)
    dtypes = [str(tensor.dtype) for tensor in known] if known else ["float32"] * len(names)
    limit = _largest_index(model)
    batches = []
    tried: list[tuple[int, int] | None] = [*sizes] or [None]
    for size in tried:
        batch = {}
        for name, shape, dtype in zip(
            names, shapes, dtypes or ["float32"] * len(names), strict=True
        ):
            whole = (shape[0], *size, shape[-1]) if size and len(shape) == 4 else shape
            fixed = [n or 1 for n in whole]
            if fixed:
                fixed[0] *= -(-_SAMPLES // fixed[0])
            batch[name] = _random(fixed, dtype, limit, generator)
        batches.append(batch)
    return batches


def _random(
    shape: list[int], dtype: str, limit: int | None, generator: np.random.Generator
) -> np.ndarray:
    if dtype == "bool":
        return np.asarray(generator.random(shape) < 0.5)
    if "int" in dtype:
        end = min(limit or _PIXELS, int(np.iinfo(dtype).max) + 1)
        return np.asarray(generator.integers(0, end, shape)).astype(dtype)
    return np.asarray(generator.random(shape, dtype="float32"))


def _largest_index(model: Any) -> int | None:
    """Returns how many indices every layer takes that reads some."""
    layers = model._flatten_layers() if isinstance(model, keras.Model) else []
    limits = [
        getattr(layer, "input_dim", None) or getattr(layer, "num_tokens", None)
        for layer in layers
        if isinstance(layer, (keras.layers.Embedding, keras.layers.CategoryEncoding))
    ]
    return min((limit for limit in limits if limit), default=None)
