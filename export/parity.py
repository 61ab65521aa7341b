"""Comparing an exported file with its Keras model: what both compute and how well."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from export import paired_runs, ties, tracing
from export.differences import (
    HALF_TOLERANCES,
    TOLERANCES,
    Rounding,
    Tolerance,
    faults,
    hardly_varies,
    larger,
    looser,
    measure,
    rounding_of,
)
from export.errors import ExportError, ParityError
from export.interpreter import Runner
from keras_nas.files import atomic_write_text

Metric = Callable[[np.ndarray, np.ndarray], float]

_UNRELATED = 1.0
"""Noise of an output that has nothing to do with the model's."""
_REPORTED = (
    "output_range", "worst", "mean", "worst_relative", "mean_relative", "noise",
    "argmax_agreement", "unequal",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Parity:
    """What `compare` found. Differences are absolute, and relative to the Keras output's range.

    Attributes:
        model: The .tflite's name.
        format: Its format.
        samples: How many samples were compared.
        output_range: Largest minus smallest value of the Keras output.
        worst, mean: The largest and the mean absolute difference.
        worst_relative, mean_relative: The same divided by `output_range`.
        noise: Root mean square of the differences over the Keras output's standard deviation.
        argmax_agreement: Share of the positions (samples, pixels) whose largest channel is the
            same; None for outputs of one channel.
        metric_name: What `metric_keras` and `metric_tflite` are; None without targets.
        metric_keras, metric_tflite: The task metric of both.
        metric_drop: What the file loses, positive where it is worse.
        unequal: Share of an integer output's values that are others, ties left out, as a part of
            the share by chance; None for outputs of real numbers.
        tolerance: What was allowed.
        faults: What is beyond it, in words; empty if the file passed.
        notes: What a reader should know, e.g. that the inputs were not real.
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
    unequal: float | None
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
        model, tflite_path, data: See `compare`, as for the other options.
        report: Where the JSON goes, in place of `parity_path(tflite_path)`.

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

    Every output must keep the tolerance; where an output hardly varies (less than 1/16 of its
    magnitude), differences that one rounding of that magnitude explains are allowed as well. A
    float32 file may also be four times as inexact as the model itself, whose own rounding is
    measured by computing in float64.

    A model in half precision is compared twice: as it is, by the limits of half precision
    (`HALF_TOLERANCES`), and with the same layers computing in float32, by those of the format.

    Args:
        model: The `keras.Model`; it is this object that computes, not a copy.
        tflite_path: The file; it runs at its own batch, one sample at a time for most.
        data: Held-out data in any form of `export.samples.batches`.
        format: What the file's format is; it chooses the default tolerance.
        metric: function(targets, outputs) of the whole data, for models with one output of one
            size.
        metric_name: Its name in the report.
        higher_is_better: Whether a larger metric is better.
        tolerance: Overrides `TOLERANCES[format]`.
        limit: The largest number of samples to compare.
        baseline: The float model, where `model` is its copy with fake quantisation: the file's
            metric is compared with that of this model, and its outputs must still have to do with
            this one's (noise below 1).
        notes: Remarks to keep in the report.

    Raises:
        ExportError: There are no data, one of the two does not run on them, or the metric needs
            targets that they do not hold.
    """
    allowed = tolerance or TOLERANCES[format]
    runner = Runner(tflite_path)
    runs = paired_runs.run(model, runner, baseline, data, limit)
    measured, faults = _Comparison(model, runs, runner.output_names, format, tolerance).result()
    ours = theirs = drop = None
    if metric is not None:
        if runs.targets is None:
            raise ExportError("The metric needs targets: give data as (inputs, targets).")
        ours = _scored(metric, metric_name, runs.targets, (runs.baseline or runs.model)[0])
        theirs = _scored(metric, metric_name, runs.targets, runs.file[0])
        drop = ours - theirs if higher_is_better else theirs - ours
    return Parity(
        model=Path(tflite_path).name,
        format=format,
        samples=runs.count,
        **{name: measured[name] for name in _REPORTED},
        metric_name=metric_name if metric is not None else None,
        metric_keras=ours,
        metric_tflite=theirs,
        metric_drop=drop,
        tolerance=allowed,
        faults=[*faults, *_metric_faults(drop, allowed)],
        notes=[*notes, *_notes(runs)],
    )


def _scored(metric: Metric, name: str, targets: np.ndarray, outputs: np.ndarray) -> float:
    try:
        return float(metric(targets, outputs))
    except Exception as error:
        raise ExportError(
            f"The metric {name} does not take targets of shape {targets.shape} and outputs of "
            f"shape {outputs.shape}: {tracing.one_line(error)}"
        ) from error


class _Comparison:
    """Every output of both, by its tolerance and by what rounding explains."""

    def __init__(
        self,
        model: Any,
        runs: paired_runs.Runs,
        names: Sequence[str],
        format_: str,
        tolerance: Tolerance | None,
    ):
        if len(runs.model) != len(runs.file):
            raise ExportError(
                f"The file has {len(runs.file)} outputs, the model {len(runs.model)}: not the "
                "same model."
            )
        self._model, self._runs, self._format = model, runs, format_
        self._names = names if len(runs.model) > 1 else [""]
        self._allowed = tolerance or TOLERANCES[format_]
        self._measures_rounding = tolerance is None and format_ == "float32"
        self._roundings: list[Rounding] | None = None

    def result(self) -> tuple[dict[str, Any], list[str]]:
        """Returns the numbers of the relatively worst output, and the faults of all."""
        found, told = [], []
        half = self._runs.half
        for number, name in enumerate(self._names):
            reference = self._runs.model[number]
            allowed = looser(self._allowed, HALF_TOLERANCES[half]) if half else self._allowed
            measured, faults_ = self._compare(number, reference, allowed, half or self._format)
            if half and faults_ and np.isfinite(self._runs.file[number]).all():
                overflowed = np.count_nonzero(~np.isfinite(reference))
                faults_ += [_overflow(half, overflowed)] if overflowed else []
            found.append(measured)
            if self._runs.full:
                _, more = self._compare(
                    number, self._runs.full[number], self._allowed, self._format
                )
                faults_ = faults_ or [f"with its layers in float32 {fault}" for fault in more]
            if self._runs.baseline and not faults_:
                faults_ = self._beside_baseline(self._runs.baseline[number], number)
            told += [f"output `{name}`: {fault}" if name else fault for fault in faults_]
        return max(found, key=lambda measured: measured["worst_relative"]), told

    def _compare(
        self, number: int, reference: np.ndarray, allowed: Tolerance, arithmetic: str
    ) -> tuple[dict[str, Any], list[str]]:
        result = self._runs.file[number]
        measured = measure(reference, result, self._ties(number, result, allowed))
        rounding = Rounding()
        if hardly_varies(reference):
            rounding = larger(*(rounding_of(a, reference) for a in (arithmetic, self._format)))
        found = faults(measured, allowed, rounding)
        if found and self._measures_rounding:
            if self._roundings is None:
                self._roundings = paired_runs.roundings(self._model, self._runs) or []
            if self._roundings:
                rounding = larger(rounding, self._roundings[number])
                found = faults(measured, allowed, rounding)
        return measured, found

    def _beside_baseline(self, reference: np.ndarray, number: int) -> list[str]:
        measured = measure(reference, self._runs.file[number])
        limits = Tolerance(worst=np.inf, mean=np.inf, noise=_UNRELATED)
        found = faults(measured, limits, rounding_of(self._format, reference))
        return [f"beside the model before its training {fault}" for fault in found]

    def _ties(self, number: int, result: np.ndarray, allowed: Tolerance) -> np.ndarray | None:
        for chosen, scores in zip(self._runs.chosen, self._runs.scores, strict=True):
            if chosen.output == number:
                return ties.ties(chosen, scores, result, allowed.mean / 2)
        return None


def _overflow(half: str, count: int) -> str:
    return (
        f"{count} values of the Keras model itself overflow in {half}, the file's do not: set the "
        "layers' dtype to float32 and export again"
    )


def _notes(runs: paired_runs.Runs) -> list[str]:
    notes = []
    if runs.half:
        notes.append(
            f"the model computes in {runs.half} and the file in float32: compared by the limits of "
            f"{runs.half}, and by the format's with the model's layers computing in float32"
        )
    if any(map(hardly_varies, runs.model)):
        notes.append(
            "an output hardly varies on the data: compared by the rounding of its magnitude"
        )
    return notes


def _metric_faults(drop: float | None, allowed: Tolerance) -> list[str]:
    if drop is None or allowed.metric_drop is None or drop <= allowed.metric_drop:
        return []
    return [f"the metric drops by {drop:.4g}, {allowed.metric_drop:.4g} is allowed"]
