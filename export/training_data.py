"""Batches and a loss for quantisation-aware training, whatever form the data have."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from export import samples, tracing
from export.errors import ExportError
from export.paired_runs import outputs_of

Batch = tuple[list[np.ndarray], list[np.ndarray]]

_BATCH = 32


class TrainingData:
    """Batches of (inputs, targets), as flat lists, and the loss that fits them.

    Without targets the model's own outputs are the targets, by the mean squared error.

    Args:
        model: The trained model; its outputs tell which loss the targets mean.
        data: Any form of `export.samples.batches`; whole arrays are shuffled and cut into batches
            of 32.
        loss: A loss for the targets; None chooses one by their shapes and values.

    Raises:
        ExportError: There is no batch, or the targets mean no loss.
    """

    def __init__(self, model: Any, data: Any, loss: Any = None):
        self._model = model
        self._data = list(data) if isinstance(data, Iterator) else data
        self._sizes = [shape[0] if shape else None for shape in tracing.open_shapes(model)]
        first = next(samples.batches(self._data, tracing.input_names(model)), None)
        if first is None:
            raise ExportError("The training data hold no sample.")
        self._learns_from_model = first[1] is None
        self.first: Batch = next(self.batches(0))
        outputs = outputs_of(model, self.first[0])
        if self._learns_from_model:
            self.loss: Any = ["mean_squared_error"] * len(outputs)
        elif loss is not None:
            self.loss = loss
        else:
            targets = self.first[1]
            if len(targets) != len(outputs):
                raise ExportError(
                    f"The training data must hold a target for each of the {len(outputs)} outputs. "
                    f"Received: {len(targets)}"
                )
            self.loss = [loss_of(t, o) for t, o in zip(targets, outputs, strict=True)]

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Yields one pass over the data."""
        names = tracing.input_names(self._model)
        for inputs, given in samples.batches(self._data, names):
            targets = None if given is None else [np.asarray(t) for t in keras.tree.flatten(given)]
            for rows in self._rows(samples.samples_in(inputs), epoch):
                part = [array[rows] if np.ndim(array) else array for array in inputs]
                if self._learns_from_model:
                    yield part, outputs_of(self._model, part)
                elif targets is not None:
                    yield part, [target[rows] for target in targets]

    def stream(self) -> Iterator[Batch]:
        """Yields pass after pass, without an end."""
        return itertools.chain.from_iterable(self.batches(epoch) for epoch in itertools.count())

    def _rows(self, count: int, epoch: int) -> list[np.ndarray]:
        """Returns which rows of a batch of the data go together."""
        fixed = next((size for size in self._sizes if size is not None), None)
        whole = samples.is_whole(self._data, len(self._sizes))
        order = np.random.default_rng(epoch).permutation(count) if whole else np.arange(count)
        size = fixed or (_BATCH if whole else count)
        end = count // size * size if fixed else count
        return [order[start : start + size] for start in range(0, end, size)]


def loss_of(targets: np.ndarray, outputs: np.ndarray) -> Any:
    """Returns the tf_keras loss that targets mean, by their shapes and values.

    Classes (n, …) or (n, …, 1) of outputs (n, …, classes) mean cross-entropy, and so do shares that
    add up to 1; 0 and 1 of outputs (n, 1) binary cross-entropy; anything else of the outputs' own
    shape the squared, of images the absolute error. Outputs that do not add up to 1 (or leave
    [0, 1]) are logits.

    Raises:
        ExportError: The shapes do not go together.
    """
    from tf_keras import losses

    channels = outputs.shape[-1] if outputs.ndim > 1 else 1
    logits = not _are_shares(outputs)
    if channels > 1 and targets.shape in (outputs.shape[:-1], (*outputs.shape[:-1], 1)):
        return losses.SparseCategoricalCrossentropy(from_logits=logits)
    if channels == 1 and targets.size == outputs.size and set(np.unique(targets)) <= {0, 1}:
        outside = bool(np.any(outputs < 0) or np.any(outputs > 1))
        return losses.BinaryCrossentropy(from_logits=outside)
    if targets.shape != outputs.shape:
        raise ExportError(
            f"The training targets of shape {targets.shape} do not fit the output of shape "
            f"{outputs.shape}: give classes, one-hot classes, values of the output's shape, or "
            "none to learn from the model's own outputs."
        )
    if channels > 1 and _are_shares(targets):
        return losses.CategoricalCrossentropy(from_logits=logits)
    return "mean_absolute_error" if outputs.ndim > 2 else "mean_squared_error"


def _are_shares(values: np.ndarray) -> bool:
    if values.ndim < 2 or values.shape[-1] == 1:
        return False
    sums = np.sum(values.astype("float64"), axis=-1)
    return bool(np.all(values >= 0) and np.allclose(sums, 1, atol=1e-2))
