"""Running a model and its exported file side by side on the same data."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any

import keras
import numpy as np

from export import samples, ties, tracing
from export.differences import Rounding, measured_rounding
from export.errors import ExportError
from export.interpreter import Runner
from export.precision import computing_in, half_precision

Outputs = list[np.ndarray]

_PROBED = 64
_SAME = {None: 1e-5, "float16": 1e-2, "bfloat16": 1e-1}
"""How far a sample's outputs alone may be from those in its batch, beside their magnitude."""


@dataclasses.dataclass
class Runs:
    """What a model and a file computed, output by output, the samples joined.

    Attributes:
        model: Outputs of the model as it is.
        file: Outputs of the file.
        full: Outputs of the model's layers computing in float32, where `half` is not None.
        half: "float16" or "bfloat16" where layers of the model compute in it.
        targets: The data's targets, or None.
        baseline: Outputs of the other model that was given, or None.
        scores: What the outputs of `chosen` choose from, in their order.
        chosen: The outputs that are an argmax or argmin.
        probe: Inputs of the first samples, in pieces that the model takes.
        count: Number of samples.
    """

    model: Outputs
    file: Outputs
    full: Outputs | None
    half: str | None
    targets: np.ndarray | None
    baseline: Outputs | None
    scores: Outputs
    chosen: list[ties.Chosen]
    probe: list[list[np.ndarray]]
    count: int


def run(model: Any, runner: Runner, baseline: Any, data: Any, limit: int | None) -> Runs:
    """Goes through the data once.

    The file runs at its own batch. The model runs at the data's, if that changes no output, else
    (a fixed batch, samples that depend on each other) at the file's.

    Raises:
        ExportError: There is no sample, or one of the two cannot run on the data.
    """
    half, scorer = half_precision(model), ties.Scorer(model)
    parts: dict[str, list[Outputs]] = {
        name: [] for name in ("model", "file", "full", "targets", "baseline", "scores")
    }
    probe: list[list[np.ndarray]] = []
    count, whole = 0, None
    for inputs, wanted in _limited(samples.batches(data, tracing.input_names(model)), limit):
        pieces = samples.chunks(inputs, runner.batch_shapes)
        used = sum(map(samples.samples_in, pieces))
        if whole is None:
            whole = _samples_are_apart(model, inputs, pieces[0], used, half)
        batches = [inputs] if whole else pieces
        parts["file"] += [runner(piece) for piece in pieces]
        for batch in batches:
            parts["model"].append(outputs_of(model, batch))
            if half:
                parts["full"].append(outputs_of(model, batch, "float32"))
            if scorer.chosen:
                parts["scores"].append(scorer(batch))
            if baseline is not None:
                parts["baseline"].append(outputs_of(baseline, batch))
        if wanted is not None:
            target = np.asarray(keras.tree.flatten(wanted)[0])
            parts["targets"].append([target[np.minimum(np.arange(used), len(target) - 1)]])
        if count < _PROBED:
            probe += batches
        count += used
    if not count:
        raise ExportError("The held-out data hold no sample.")
    joined = {name: _join(found) for name, found in parts.items()}
    return Runs(
        joined["model"] or [],
        joined["file"] or [],
        joined["full"],
        half,
        joined["targets"][0] if joined["targets"] else None,
        joined["baseline"],
        joined["scores"] or [],
        scorer.chosen,
        probe,
        count,
    )


def outputs_of(model: Any, inputs: list[np.ndarray], dtype: str | None = None) -> Outputs:
    """Returns a model's outputs, in their flat order.

    Args:
        model: A `keras.Model` or `tf_keras.Model`.
        inputs: One array for each of its inputs.
        dtype: What its layers compute in, in place of their own; see `precision.computing_in`.

    Raises:
        ExportError: The model cannot be called with them.
    """
    precision = computing_in(model, dtype) if dtype else contextlib.nullcontext()
    try:
        with precision:
            found = keras.tree.flatten(tracing.call(model, inputs))
            return [np.asarray(output) for output in found]
    except Exception as error:
        shapes = [array.shape for array in inputs]
        raise ExportError(
            f"The Keras model does not run on data of the shapes {shapes}: "
            f"{tracing.one_line(error)}"
        ) from error


def _samples_are_apart(
    model: Any, inputs: list[np.ndarray], piece: list[np.ndarray], used: int, half: str | None
) -> bool:
    """Whether the model may run on whole batches: the first piece's outputs are the same alone."""
    fixed = any(shape[:1] != (None,) for shape in tracing.open_shapes(model))
    size = samples.samples_in(inputs)
    if fixed or used != size or any(np.ndim(array) == 0 for array in inputs):
        return False
    together, alone = outputs_of(model, inputs), outputs_of(model, piece)
    return all(
        a.ndim > 0
        and b.ndim > 0
        and len(a) * len(piece[0]) == size * len(b)
        and _close(a[: len(b)], b, _SAME[half])
        for a, b in zip(together, alone, strict=True)
    )


def _close(a: np.ndarray, b: np.ndarray, share: float) -> bool:
    if a.shape != b.shape:
        return False
    if a.dtype.kind not in "fV":
        return bool(np.array_equal(a, b))
    wide = a.astype("float64"), b.astype("float64")
    scale = np.max(np.abs(wide[1]), initial=0.0, where=np.isfinite(wide[1]))
    return bool(np.allclose(*wide, rtol=0, atol=share * float(scale), equal_nan=True))


def _limited(batches: Iterator[Any], limit: int | None) -> Iterator[Any]:
    left = limit
    for inputs, wanted in batches:
        size = samples.samples_in(inputs)
        if left is None or size <= left:
            yield inputs, wanted
        elif left > 0:
            first = itemgetter(slice(left))
            head = None if wanted is None else keras.tree.map_structure(first, wanted)
            yield [first(array) if np.ndim(array) else array for array in inputs], head
        else:
            return
        left = None if left is None else left - size


def _join(batches: Sequence[Outputs]) -> Outputs | None:
    return [_joined(arrays) for arrays in zip(*batches, strict=True)] if batches else None


def _joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Joins batches; images of several sizes as one long row of pixels, scalars as a row."""
    if arrays[0].ndim == 0:
        return np.stack(arrays)
    if len({array.shape[1:] for array in arrays}) > 1:
        channels = {array.shape[-1] for array in arrays}
        shape = (-1, channels.pop()) if len(channels) == 1 else (-1,)
        return np.concatenate([array.reshape(shape) for array in arrays])
    return np.concatenate(arrays)


def roundings(model: Any, runs: Runs) -> list[Rounding] | None:
    """Measures, output by output, what computing in float32 loses: the same in float64 tells.

    Returns:
        None where the model does not compute in float64.
    """
    try:
        own = _join([outputs_of(model, inputs, "float32") for inputs in runs.probe])
        exact = _join([outputs_of(model, inputs, "float64") for inputs in runs.probe])
    except ExportError:
        return None
    pairs = zip(own or [], exact or [], strict=True)
    return [measured_rounding(a, b) if a.shape == b.shape else Rounding() for a, b in pairs]
