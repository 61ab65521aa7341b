"""What a delegate took of a file on a phone, as `benchmark_model` said it."""

from __future__ import annotations

from collections.abc import Sequence

from export.accelerators.coverage import Coverage
from export.benchmark_model_log import BenchmarkModelLog, Replaced

SOURCE = "the log of benchmark_model on the phone"


def phone_coverage(log: BenchmarkModelLog, accelerator: str) -> Coverage | None:
    """Reads what the delegate took that the tool was asked to use.

    Args:
        log: One run of the tool.
        accelerator: A key of `coverage.NAMES`, which stands in the delegate's own name
            ("nnapi" in "TfLiteNnapiDelegate"); "none" finds nothing.

    Returns:
        None where the log does not say. What is left stays unnamed: logs do not name it.
    """
    found = next((one for one in log.replaced if accelerator in one.delegate.lower()), None)
    if found is None:
        return None
    return Coverage(accelerator, SOURCE, found.nodes, found.taken, _partitions(found, log.kernels))


def with_phone(
    known: Sequence[Coverage], log: BenchmarkModelLog, accelerator: str
) -> list[Coverage]:
    """What is known without the phone, and in its place what the phone said, where it did."""
    told = phone_coverage(log, accelerator)
    if told is None:
        return list(known)
    return [told, *(one for one in known if one.accelerator != accelerator)]


def _partitions(found: Replaced, kernels: int | None) -> int | None:
    """The delegate's parts. Taken ones and others alternate, so of an even number half are its."""
    if kernels is not None:
        return kernels
    if found.taken in (0, found.nodes):
        return min(found.taken, 1)
    return None if found.parts % 2 else found.parts // 2
