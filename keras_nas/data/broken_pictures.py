"""What is done about pictures that cannot be read; needs no TensorFlow."""

from __future__ import annotations

import concurrent.futures
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from keras_nas.errors import KerasNasError

logger = logging.getLogger(__name__)

STOP, SKIP = "stop", "skip"


def read_all(
    read: Callable[[Any], Any], items: Sequence[Any], broken: str, root: Path
) -> tuple[list[Any], list[int]]:
    """Reads in parallel what can be read.

    Args:
        read: Reads one item; raises `KerasNasError` for one that is broken, which it names.
        items: Such as paths.
        broken: "stop" at the first that is broken, or "skip" those, with a warning of how many.
        root: Where they are, for messages.

    Returns:
        What was read, in order, and the positions of its items.

    Raises:
        KerasNasError: As `read`, or all are broken.
    """

    def tried(item: Any) -> Any:
        try:
            return read(item)
        except KerasNasError as error:
            if broken == STOP:
                raise
            return error

    with concurrent.futures.ThreadPoolExecutor() as pool:
        found = list(pool.map(tried, items))
    errors = [each for each in found if isinstance(each, KerasNasError)]
    if len(errors) == len(items):
        raise KerasNasError(f"No picture of `{root}` can be read. The first: {errors[0]}")
    if errors:
        logger.warning(
            "%d of %d pictures of `%s` are left out. The first: %s",
            len(errors), len(items), root, errors[0],
        )  # fmt: skip
    good = [place for place, each in enumerate(found) if not isinstance(each, KerasNasError)]
    return [found[place] for place in good], good
