"""Which values of an argmax's output may be others: those of scores that are as good as equal."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np

from export import tracing
from keras_nas.graph.read import as_functional

_REDUCTIONS = {"Argmax": 1.0, "Argmin": -1.0}


@dataclasses.dataclass(frozen=True)
class Chosen:
    """An integer output that chooses among scores.

    Attributes:
        output: Its number among the model's outputs.
        axis: The axis of the scores that it chooses along, from the front.
        rank: The number of the scores' axes.
        sign: 1 where it chooses the largest score, -1 the smallest.
    """

    output: int
    axis: int
    rank: int
    sign: float


class Scorer:
    """What a functional model's outputs choose from, by `ops.argmax` or `ops.argmin`.

    Attributes:
        chosen: The outputs that do so; empty for most models.
    """

    def __init__(self, model: Any):
        functional = as_functional(model) if isinstance(model, keras.Model) else None
        found = [_source(tensor) for tensor in functional.outputs] if functional else []
        self.chosen = [
            Chosen(
                number,
                source[1].axis % len(source[0].shape),
                len(source[0].shape),
                _REDUCTIONS[type(source[1]).__name__],
            )
            for number, source in enumerate(found)
            if source
        ]
        scores = [source[0] for source in found if source]
        self._model = (
            keras.Model(model.inputs, scores) if functional is not None and scores else None
        )

    def __call__(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        """Returns the scores of each of `chosen`."""
        if self._model is None:
            return []
        return [np.asarray(s) for s in keras.tree.flatten(tracing.call(self._model, inputs))]


def ties(chosen: Chosen, scores: np.ndarray, result: np.ndarray, margin: float) -> np.ndarray:
    """Returns where the file's choice is as good as the best: within `margin` of the scores' range.

    Args:
        chosen: Which output it is.
        scores: What it chooses from; of images of several sizes one row for each pixel.
        result: The file's indices, with or without the axis.
        margin: As a part of the scores' range.

    Returns:
        Booleans of the shape of `result`.
    """
    values = chosen.sign * scores.astype("float64")
    axis = chosen.axis
    if scores.ndim != chosen.rank:  # joined images of several sizes
        if axis != chosen.rank - 1 or scores.ndim != 2 or result.size != len(scores):
            return np.zeros(result.shape, bool)
        pixels = dataclasses.replace(chosen, axis=1, rank=2)
        return ties(pixels, scores, result.reshape(-1), margin).reshape(result.shape)
    size = scores.shape[axis]
    indices = result if result.ndim == scores.ndim else np.expand_dims(result, axis)
    if indices.shape != (*scores.shape[:axis], 1, *scores.shape[axis + 1 :]):
        return np.zeros(result.shape, bool)
    taken = np.take_along_axis(values, np.clip(indices, 0, size - 1).astype("int64"), axis)
    gap = np.max(values, axis, keepdims=True) - taken
    near = (gap <= margin * float(np.ptp(values))) & (indices >= 0) & (indices < size)
    return near.reshape(result.shape)


def _source(tensor: keras.KerasTensor) -> tuple[keras.KerasTensor, Any] | None:
    operation = tensor._keras_history.operation
    node = operation._inbound_nodes[tensor._keras_history.node_index]
    inputs = node.input_tensors
    if type(operation).__name__ == "Cast" and len(inputs) == 1:
        return _source(inputs[0])
    reduces = type(operation).__name__ in _REDUCTIONS and not isinstance(
        operation, keras.layers.Layer
    )
    return (inputs[0], operation) if reduces and operation.axis not in (None, 0) else None
