"""Saying where a smaller network is cut in more pieces than the one it was made from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from export.accelerators.coverage import NAMES, of
from export.benchmark_schema import BenchmarkResult


def splitting(result: BenchmarkResult, results: Sequence[BenchmarkResult]) -> list[str]:
    """Returns a line for each accelerator that runs fewer macs of a file in more partitions.

    Args:
        result: One of `results`.
        results: The first of the same threads and the same type of weights is what it is
            compared with.
    """
    kind = (result.threads, result.weights_dtype)
    first = next(other for other in results if (other.threads, other.weights_dtype) == kind)
    if not first.macs or result.macs is None or result.macs >= first.macs:
        return []
    share = f"{result.macs / first.macs:.2f}× the macs of {Path(first.model.path).name}"
    lines = []
    for found in result.coverage:
        before = of(first.coverage, found.accelerator)
        if before is None or before.partitions is None or found.partitions is None:
            continue
        if found.partitions > before.partitions:
            left = f" (left: {', '.join(map(str, found.left))})" if found.left else ""
            lines.append(
                f"{share}, but {found.partitions} partitions of {NAMES[found.accelerator]} in "
                f"place of {before.partitions}{left}: between partitions values go through memory"
            )
    return lines


def note_splitting(results: Sequence[BenchmarkResult]) -> list[BenchmarkResult]:
    """The same results, each with what `splitting` says of it among its notes."""
    return [
        dataclasses.replace(result, notes=result.notes + splitting(result, results))
        for result in results
    ]
