"""Comparing an exported file with its Keras model: what both compute and how well."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

import keras
import numpy as np

from export import samples, tracing
from export.errors import ExportError, ParityError
from export.interpreter import Runner
from keras_nas.files import atomic_write_text

Metric = Callable[[np.ndarray, np.ndarray], float]


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """The largest allowed differences, as parts of the output's range on the data.

    `metric_drop` is the largest allowed loss of the task metric, in its own unit; None for any.
    """

    worst: float
    mean: float
    metric_drop: float | None = None


TOLERANCES = {
    "float32": Tolerance(worst=1e-4, mean=1e-5),
    "float16": Tolerance(worst=0.05, mean=5e-3),
    "dynamic_int8": Tolerance(worst=0.5, mean=0.05),
    "int16x8": Tolerance(worst=0.5, mean=0.05),
    "int8": Tolerance(worst=0.75, mean=0.1),
    "qat": Tolerance(worst=0.75, mean=0.1),
}


@dataclasses.dataclass(frozen=True)
class Parity:
    """What `check` found. Differences are absolute, and relative to the Keras output's range.

    Attributes:
        model: the .tflite's path.
        format: its format.
        samples: how many samples were compared.
        output_range: largest minus smallest value of the Keras output.
        worst, mean: the largest and the mean absolute difference.
        worst_relative, mean_relative: the same divided by `output_range`.
        argmax_agreement: share of the positions (samples, pixels) whose largest channel is the
            same; None for outputs of one channel.
        metric_name: what `metric_keras` and `metric_tflite` are; None without targets.
        metric_keras, metric_tflite: the task metric of both.
        metric_drop: what the file loses, positive where it is worse.
        tolerance: what was allowed.
        passed: whether all stayed within it.
        notes: what a reader should know, e.g. that the inputs were not real.
    """

    model: str
    format: str
    samples: int
    output_range: float
    worst: float
    mean: float
    worst_relative: float
    mean_relative: float
    argmax_agreement: float | None
    metric_name: str | None
    metric_keras: float | None
    metric_tflite: float | None
    metric_drop: float | None
    tolerance: Tolerance
    passed: bool
    notes: list[str]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the result as JSON."""
        atomic_write_text(path, json.dumps(dataclasses.asdict(self), indent=1) + "\n")


def parity_path(tflite_path: str | os.PathLike[str]) -> Path:
    """Returns where the result stands: `small.tflite` has `small.parity.json` beside it."""
    return Path(tflite_path).with_suffix(".parity.json")


def check(
    model: Any,
    tflite_path: str | os.PathLike[str],
    data: Any,
    *,
    format: str = "float32",  # noqa: A002
    metric: Metric | None = None,
    metric_name: str = "metric",
    higher_is_better: bool = True,
    tolerance: Tolerance | None = None,
    limit: int | None = None,
    write_to: str | os.PathLike[str] | None = None,
    notes: list[str] | None = None,
) -> Parity:
    """Compares a .tflite with its model on held-out data and writes `<name>.parity.json`.

    Example:
        check(model, "small.tflite", (test_x, test_y), metric=top1, metric_name="top-1")

    Args:
        model: the `keras.Model` (or another callable model with `predict_on_batch`).
        tflite_path: the file; it runs one sample at a time, at its own batch of 1.
        data: held-out data in any form of `export.samples.batches`.
        format: what the file's format is; it chooses the default tolerance.
        metric: function(targets, outputs) of the whole data, for models with one output.
        metric_name: its name in the report.
        higher_is_better: whether a larger metric is better.
        tolerance: overrides `TOLERANCES[format]`.
        limit: the largest number of samples to compare.
        write_to: where the JSON goes, in place of `parity_path(tflite_path)`.
        notes: remarks to keep in the report.

    Returns:
        The comparison; the file stands whether it passed or not.

    Raises:
        ParityError: A difference or the metric's drop is beyond the tolerance.
        ExportError: There are no data, or the metric needs targets that they do not hold.
    """
    allowed = tolerance or TOLERANCES[format]
    references, results, targets = _run_both(model, Runner(tflite_path), data, limit)
    measured = _differences(references, results)
    if metric is not None and not targets:
        raise ExportError("The metric needs targets: give data as (inputs, targets).")
    ours = theirs = drop = None
    if metric is not None:
        wanted = np.concatenate(targets)
        ours, theirs = (float(metric(wanted, outputs[0])) for outputs in (references, results))
        drop = ours - theirs if higher_is_better else theirs - ours
    faults = _faults(measured, drop, allowed)
    parity = Parity(
        model=str(tflite_path),
        format=format,
        samples=len(references[0]),
        **measured,
        metric_name=metric_name if metric is not None else None,
        metric_keras=ours,
        metric_tflite=theirs,
        metric_drop=drop,
        tolerance=allowed,
        passed=not faults,
        notes=list(notes or []),
    )
    report = Path(write_to) if write_to else parity_path(tflite_path)
    parity.save(report)
    if faults:
        raise ParityError(
            f"{Path(tflite_path).name} ({format}) is not the model any more: {'; '.join(faults)}. "
            f"See {report}."
        )
    return parity


def _run_both(
    model: Any, runner: Runner, data: Any, limit: int | None
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    references: list[list[np.ndarray]] = []
    results: list[list[np.ndarray]] = []
    targets: list[np.ndarray] = []
    for inputs, wanted in _limited(samples.batches(data, tracing.input_names(model)), limit):
        outputs = model.predict_on_batch(inputs[0] if len(inputs) == 1 else inputs)
        references.append([np.asarray(output) for output in keras.tree.flatten(outputs)])
        rows = [runner([array[row : row + 1] for array in inputs]) for row in range(len(inputs[0]))]
        results.append([np.concatenate(parts) for parts in zip(*rows, strict=True)])
        if wanted is not None:
            targets.append(np.asarray(keras.tree.flatten(wanted)[0]))
    if not references:
        raise ExportError("The held-out data hold no sample.")
    return _joined(references), _joined(results), targets


def _limited(batches: Iterator[Any], limit: int | None) -> Iterator[Any]:
    left = limit
    for inputs, wanted in batches:
        if left is None:
            yield inputs, wanted
        elif left > 0:
            first = slice(left)
            head = None if wanted is None else keras.tree.map_structure(itemgetter(first), wanted)
            yield [array[first] for array in inputs], head
            left -= len(inputs[0])
        else:
            return


def _joined(parts: list[list[np.ndarray]]) -> list[np.ndarray]:
    return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]


def _differences(references: list[np.ndarray], results: list[np.ndarray]) -> dict[str, Any]:
    """Compares output by output; of several outputs the relatively worst is reported."""
    if len(references) != len(results):
        raise ExportError(
            f"The file has {len(results)} outputs, the model {len(references)}: not the same model."
        )
    found = []
    for reference, result in zip(references, results, strict=True):
        if reference.shape != result.shape:
            raise ExportError(
                f"The file's output has the shape {result.shape}, the model's {reference.shape}."
            )
        difference = np.abs(reference.astype("float64") - result.astype("float64"))
        worst = float(np.max(difference)) if np.isfinite(difference).all() else float("inf")
        mean = float(np.mean(difference)) if np.isfinite(difference).all() else float("inf")
        spread = float(np.ptp(reference))
        scale = spread if spread > 0 else 1.0
        agreement = None
        if reference.ndim > 1 and reference.shape[-1] > 1:
            agreement = float(np.mean(np.argmax(reference, -1) == np.argmax(result, -1)))
        found.append(
            {
                "output_range": spread,
                "worst": worst,
                "mean": mean,
                "worst_relative": worst / scale,
                "mean_relative": mean / scale,
                "argmax_agreement": agreement,
            }
        )
    return max(found, key=lambda differences: differences["worst_relative"])


def _faults(measured: dict[str, Any], drop: float | None, allowed: Tolerance) -> list[str]:
    faults = []
    for name in ("worst", "mean"):
        value, limit = measured[f"{name}_relative"], getattr(allowed, name)
        if not value <= limit:
            faults.append(
                f"the {name} difference is {value:.3g} of the output range, {limit:.3g} is allowed"
            )
    if drop is not None and allowed.metric_drop is not None and not drop <= allowed.metric_drop:
        faults.append(f"the metric drops by {drop:.4g}, {allowed.metric_drop:.4g} is allowed")
    return faults
