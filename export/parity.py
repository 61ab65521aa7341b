"""Comparing an exported file with its Keras model: what both compute and how well."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Sequence
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
    """The largest allowed differences.

    Attributes:
        worst, mean: of the differences, as parts of the output's range on the data.
        noise: of their root mean square, as a part of the output's standard deviation on the
            data. An output that has nothing to do with the model's has 1 or more, whatever its
            number of classes.
        metric_drop: of the task metric's loss, in its own unit; None for any.
    """

    worst: float
    mean: float
    noise: float
    metric_drop: float | None = None


TOLERANCES = {
    "float32": Tolerance(worst=1e-4, mean=1e-5, noise=1e-4),
    "float16": Tolerance(worst=0.05, mean=5e-3, noise=0.02),
    "int16x8": Tolerance(worst=0.5, mean=0.02, noise=0.2),
    "dynamic_int8": Tolerance(worst=0.5, mean=0.05, noise=0.4),
    "int8": Tolerance(worst=0.75, mean=0.1, noise=0.5),
    "qat": Tolerance(worst=0.75, mean=0.1, noise=0.5),
}


@dataclasses.dataclass(frozen=True)
class Parity:
    """What `compare` found. Differences are absolute, and relative to the Keras output's range.

    Attributes:
        model: the .tflite's name.
        format: its format.
        samples: how many samples were compared.
        output_range: largest minus smallest value of the Keras output.
        worst, mean: the largest and the mean absolute difference.
        worst_relative, mean_relative: the same divided by `output_range`.
        noise: root mean square of the differences over the Keras output's standard deviation.
        argmax_agreement: share of the positions (samples, pixels) whose largest channel is the
            same; None for outputs of one channel.
        metric_name: what `metric_keras` and `metric_tflite` are; None without targets.
        metric_keras, metric_tflite: the task metric of both.
        metric_drop: what the file loses, positive where it is worse.
        tolerance: what was allowed.
        faults: what is beyond it, in words; empty if the file passed.
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
    noise: float
    argmax_agreement: float | None
    metric_name: str | None
    metric_keras: float | None
    metric_tflite: float | None
    metric_drop: float | None
    tolerance: Tolerance
    faults: list[str]
    notes: list[str]

    @property
    def passed(self) -> bool:
        """Whether all stayed within the tolerance."""
        return not self.faults

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the result as JSON."""
        content = {**dataclasses.asdict(self), "passed": self.passed}
        atomic_write_text(path, json.dumps(content, indent=1) + "\n")


def parity_path(tflite_path: str | os.PathLike[str]) -> Path:
    """Returns where the result stands: `small.tflite` has `small.parity.json` beside it."""
    return Path(tflite_path).with_suffix(".parity.json")


def check(
    model: Any,
    tflite_path: str | os.PathLike[str],
    data: Any,
    *,
    report: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Parity:
    """Compares a .tflite with its model, writes `<name>.parity.json` and refuses a bad file.

    Example:
        check(model, "small.tflite", (test_x, test_y), metric=top1, metric_name="top1")

    Args:
        model, tflite_path, data: see `compare`, as for the other options.
        report: where the JSON goes, in place of `parity_path(tflite_path)`.

    Returns:
        The comparison, which passed.

    Raises:
        ParityError: A difference or the metric's drop is beyond the tolerance; the JSON stands.
        ExportError: As from `compare`.
    """
    parity = compare(model, tflite_path, data, **options)
    report = Path(report) if report else parity_path(tflite_path)
    parity.save(report)
    if parity.faults:
        raise ParityError(
            f"{report.name.removesuffix('.parity.json')}.tflite ({parity.format}) is not the "
            f"model any more: {'; '.join(parity.faults)}. See {report}."
        )
    return parity


def compare(
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
    baseline: Any = None,
    notes: Sequence[str] = (),
) -> Parity:
    """Runs a .tflite and its model on the same held-out data.

    Args:
        model: the `keras.Model`, compared as it computes in float32.
        tflite_path: the file; it runs one sample at a time, at its own batch of 1.
        data: held-out data in any form of `export.samples.batches`.
        format: what the file's format is; it chooses the default tolerance.
        metric: function(targets, outputs) of the whole data, for models with one output of one
            size.
        metric_name: its name in the report.
        higher_is_better: whether a larger metric is better.
        tolerance: overrides `TOLERANCES[format]`.
        limit: the largest number of samples to compare.
        baseline: the model whose metric the file's is compared with, where that is not `model`:
            the float model, when `model` is its copy with fake quantisation.
        notes: remarks to keep in the report.

    Raises:
        ExportError: There are no data, or the metric needs targets that they do not hold.
    """
    allowed = tolerance or TOLERANCES[format]
    runs = _run(model, Runner(tflite_path), baseline, data, limit)
    (references, results, targets, baselines), count = runs
    measured = _differences(references, results)
    ours = theirs = drop = None
    if metric is not None:
        if not targets:
            raise ExportError("The metric needs targets: give data as (inputs, targets).")
        ours = float(metric(targets[0], (baselines or references)[0]))
        theirs = float(metric(targets[0], results[0]))
        drop = ours - theirs if higher_is_better else theirs - ours
    return Parity(
        model=Path(tflite_path).name,
        format=format,
        samples=count,
        **measured,
        metric_name=metric_name if metric is not None else None,
        metric_keras=ours,
        metric_tflite=theirs,
        metric_drop=drop,
        tolerance=allowed,
        faults=_faults(measured, drop, allowed),
        notes=list(notes),
    )


def _run(
    model: Any, runner: Runner, baseline: Any, data: Any, limit: int | None
) -> tuple[list[list[np.ndarray]], int]:
    """Goes through the data once.

    Returns:
        The outputs of the model and of the file, the targets (none or one array) and the
        baseline's outputs (none without a baseline); and the number of samples.
    """
    call, _ = tracing.flat_call(model)
    base_call = None if baseline is None else tracing.flat_call(baseline)[0]
    parts: list[list[list[np.ndarray]]] = [[], [], [], []]
    for inputs, wanted in _limited(samples.batches(data, tracing.input_names(model)), limit):
        parts[0].append(_predict(call, inputs))
        for row in range(len(inputs[0])):
            parts[1].append(runner([array[row : row + 1] for array in inputs]))
        if wanted is not None:
            parts[2].append([np.asarray(keras.tree.flatten(wanted)[0])])
        if base_call is not None:
            parts[3].append(_predict(base_call, inputs))
    if not parts[0]:
        raise ExportError("The held-out data hold no sample.")
    outputs = [[_joined(arrays) for arrays in zip(*batches, strict=True)] for batches in parts]
    return outputs, len(parts[1])


def _joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Joins batches; pictures of several sizes as one long row of pixels."""
    if len({array.shape[1:] for array in arrays}) > 1:
        return np.concatenate([array.reshape(-1, array.shape[-1]) for array in arrays])
    return np.concatenate(arrays)


def _predict(call: Callable[[list[Any]], Any], inputs: list[np.ndarray]) -> list[np.ndarray]:
    return [np.asarray(output) for output in keras.tree.flatten(call(inputs))]


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
        wanted = reference.astype("float64")
        difference = np.abs(wanted - result.astype("float64"))
        difference[~np.isfinite(difference)] = np.inf
        worst, mean = float(np.max(difference)), float(np.mean(difference))
        spread, deviation = float(np.ptp(wanted)), float(np.std(wanted))
        agreement = None
        if reference.ndim > 1 and reference.shape[-1] > 1:
            agreement = float(np.mean(np.argmax(reference, -1) == np.argmax(result, -1)))
        found.append(
            {
                "output_range": spread,
                "worst": worst,
                "mean": mean,
                "worst_relative": worst / (spread or 1.0),
                "mean_relative": mean / (spread or 1.0),
                "noise": float(np.sqrt(np.mean(difference**2))) / (deviation or 1.0),
                "argmax_agreement": agreement,
            }
        )
    return max(found, key=lambda differences: differences["worst_relative"])


def _faults(measured: dict[str, Any], drop: float | None, allowed: Tolerance) -> list[str]:
    parts = [
        ("worst", measured["worst_relative"], "of the output range"),
        ("mean", measured["mean_relative"], "of the output range"),
        ("noise", measured["noise"], "of the output's deviation"),
    ]
    faults = [
        f"the {name} difference is {value:.3g} {unit}, {getattr(allowed, name):.3g} is allowed"
        for name, value, unit in parts
        if not value <= getattr(allowed, name)
    ]
    if drop is not None and allowed.metric_drop is not None and not drop <= allowed.metric_drop:
        faults.append(f"the metric drops by {drop:.4g}, {allowed.metric_drop:.4g} is allowed")
    return faults
