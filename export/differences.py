"""How far an exported file's outputs are from its model's, and how far they may be."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from export.errors import ExportError


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """The largest allowed differences.

    Attributes:
        worst, mean: Of the differences, as parts of the output's range on the data.
        noise: Of their root mean square, as a part of the output's standard deviation on the
            data. An output that has nothing to do with the model's has 1 or more, whatever its
            number of classes.
        metric_drop: Of the task metric's loss, in its own unit; None for any.
        unequal: Share of an integer or boolean output's values that may be others, as a part of the
            share that differs between two values of it by chance. Ties do not count: an argmax may
            choose another of two scores that are within half of `mean`.
    """

    worst: float
    mean: float
    noise: float
    metric_drop: float | None = None
    unequal: float = 0.0


TOLERANCES = {
    "float32": Tolerance(worst=1e-4, mean=1e-5, noise=1e-4, unequal=1e-3),
    "float16": Tolerance(worst=0.05, mean=5e-3, noise=0.02, unequal=0.02),
    "int16x8": Tolerance(worst=0.5, mean=0.02, noise=0.2, unequal=0.1),
    "dynamic_int8": Tolerance(worst=0.5, mean=0.05, noise=0.4, unequal=0.2),
    "int8": Tolerance(worst=0.75, mean=0.1, noise=0.5, unequal=0.3),
    "qat": Tolerance(worst=0.75, mean=0.1, noise=0.5, unequal=0.3),
}
HALF_TOLERANCES = {
    "float16": TOLERANCES["float16"],
    "bfloat16": Tolerance(worst=0.4, mean=0.04, noise=0.16, unequal=0.15),
}
"""What a model that computes in half precision may differ from a file that does not: rounding to
11 or 8 bits at every layer."""

INTEGER_KINDS = "biu"
_STEPS = {"float32": 2.0**-23, "float16": 2.0**-11, "bfloat16": 2.0**-8}
_BYTE = 2.0**-8
_AS_MUCH = 4.0
"""The file may be this many times as inexact as the Keras model is itself."""


@dataclasses.dataclass(frozen=True)
class Rounding:
    """Absolute differences that arithmetic alone explains, whatever the output's range is.

    Attributes:
        worst, mean, rms: The largest, mean and root mean square difference.
    """

    worst: float = 0.0
    mean: float = 0.0
    rms: float = 0.0


def rounding_of(format_: str, reference: np.ndarray) -> Rounding:
    """Returns what one rounding of an output costs: two steps of its magnitude at most.

    A step is 2⁻²³ of the magnitude for "float32", 2⁻¹¹ for half precision ("float16"), 2⁻⁸ for
    "bfloat16" and for the formats that have weights or outputs of 8 bits.
    """
    magnitude = float(np.max(np.abs(_finite(reference)), initial=0.0)) or 1.0
    step = _STEPS.get(format_, _BYTE) * magnitude
    return Rounding(2 * step, step / 2, step / 2)


def measured_rounding(own: np.ndarray, exact: np.ndarray) -> Rounding:
    """Returns four times what the model's own arithmetic loses beside a more exact one."""
    difference = np.abs(own.astype("float64") - exact.astype("float64"))
    difference = _finite(difference)
    if not difference.size:
        return Rounding()
    worst, mean = float(np.max(difference)), float(np.mean(difference))
    rms = float(np.sqrt(np.mean(difference**2)))
    return Rounding(_AS_MUCH * worst, _AS_MUCH * mean, _AS_MUCH * rms)


def larger(a: Rounding, b: Rounding) -> Rounding:
    """Returns the larger of two roundings, number by number."""
    return Rounding(max(a.worst, b.worst), max(a.mean, b.mean), max(a.rms, b.rms))


def looser(a: Tolerance, b: Tolerance) -> Tolerance:
    """Returns the looser of two tolerances, number by number; the metric's drop is the first's."""
    return Tolerance(
        max(a.worst, b.worst), max(a.mean, b.mean), max(a.noise, b.noise), a.metric_drop,
        max(a.unequal, b.unequal),
    )  # fmt: skip


def measure(
    reference: np.ndarray, result: np.ndarray, ties: np.ndarray | None = None
) -> dict[str, Any]:
    """Compares one output.

    Values that are not finite and the same in both (an average over no sample) are left out.

    Args:
        reference, result: The model's and the file's, of one shape.
        ties: Where an integer output may be either of several values, as booleans.

    Raises:
        ExportError: The shapes differ.
    """
    if reference.shape != result.shape:
        raise ExportError(
            f"The file's output has the shape {result.shape}, the model's {reference.shape}. "
            "Where the length depends on the values, rounding changes it: end the model before "
            "that, or choose a format of less rounding."
        )
    wanted, found = reference.astype("float64"), result.astype("float64")
    same = ~np.isfinite(wanted) & ((wanted == found) | (np.isnan(wanted) & np.isnan(found)))
    if ties is not None:
        same |= ties & (wanted != found)
    kept = wanted[~same] if same.any() else wanted
    with np.errstate(invalid="ignore"):
        difference = np.abs(kept - (found[~same] if same.any() else found))
    difference[~np.isfinite(difference)] = np.inf
    return {**_sizes(kept, difference), **_shares(reference, result, difference)}


def _sizes(wanted: np.ndarray, difference: np.ndarray) -> dict[str, Any]:
    if not wanted.size:
        wanted = difference = np.zeros(1)
    finite = _finite(wanted)
    spread = float(np.ptp(finite)) if finite.size else 0.0
    deviation = float(np.std(finite)) if finite.size else 0.0
    worst, mean = float(np.max(difference)), float(np.mean(difference))
    rms = float(np.sqrt(np.mean(difference**2)))
    return {
        "output_range": spread,
        "worst": worst,
        "mean": mean,
        "rms": rms,
        "worst_relative": worst / (spread or 1.0),
        "mean_relative": mean / (spread or 1.0),
        "noise": rms / (deviation or 1.0),
    }


def _shares(reference: np.ndarray, result: np.ndarray, difference: np.ndarray) -> dict[str, Any]:
    agreement = unequal = None
    if reference.dtype.kind in INTEGER_KINDS:
        unequal = float(np.count_nonzero(difference) / max(1, reference.size)) / _chance(reference)
    elif reference.ndim > 1 and reference.shape[-1] > 1:
        agreement = float(np.mean(np.argmax(reference, -1) == np.argmax(result, -1)))
    return {"argmax_agreement": agreement, "unequal": unequal}


def _chance(values: np.ndarray) -> float:
    """Returns how often two of the values, drawn at random, differ."""
    if not values.size:
        return 1.0
    _, counts = np.unique(values, return_counts=True)
    return max(1 - float(np.sum((counts / values.size) ** 2)), 1 / values.size)


def faults(measured: dict[str, Any], allowed: Tolerance, rounding: Rounding) -> list[str]:
    """Says in words what of `measured` is beyond the tolerance, and beyond what rounding explains.

    An integer output passes if few values are others, or if it is as close as numbers must be.
    """
    parts = [
        ("worst", "worst_relative", "worst", "of the output range"),
        ("mean", "mean_relative", "mean", "of the output range"),
        ("noise", "noise", "rms", "of the output's deviation"),
    ]
    found = [
        f"the {name} difference is {measured[relative]:.3g} {unit}, "
        f"{getattr(allowed, name):.3g} is allowed"
        for name, relative, absolute, unit in parts
        if not measured[relative] <= getattr(allowed, name)
        and not measured.get(absolute, np.inf) <= getattr(rounding, absolute)
    ]
    unequal = measured.get("unequal")
    if unequal is None or not found:
        return found
    if unequal <= allowed.unequal:
        return []
    return [
        f"integers are others {unequal:.3g} times as often as by chance, {allowed.unequal:.3g} is "
        "allowed"
    ]


def hardly_varies(reference: np.ndarray) -> bool:
    """Whether an output of real numbers has a range on the data below 1/16 of its magnitude."""
    finite = _finite(reference)
    if reference.dtype.kind in INTEGER_KINDS or not finite.size:
        return False
    return float(np.ptp(finite)) * 16 <= float(np.max(np.abs(finite)))


def _finite(array: np.ndarray) -> np.ndarray:
    return array[np.isfinite(array)]
