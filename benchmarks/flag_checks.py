"""What the flags of benchmarks may name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from keras_nas.errors import UsageError


def check_names(flag: str, given: Sequence[str], known: Iterable[str]) -> None:
    """Refuses names that a flag does not know.

    Raises:
        UsageError: One of `given` is not among `known`.
    """
    allowed = list(known)
    for name in given:
        if name not in allowed:
            raise UsageError(f"`{flag}` must be of {allowed}. Received: {name!r}")
