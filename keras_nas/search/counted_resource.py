"""The resource that a search counts, as its settings name it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras

from keras_nas.costs import LatencyTable
from keras_nas.regularizers import Resource
from keras_nas.search.target_settings import TargetSettings


def make_resource(
    supernet: keras.Model,
    what: str,
    settings: TargetSettings,
    input_shapes: Sequence[tuple[int, ...]] | None = None,
) -> Resource:
    """The resource, with the latency table that the settings name.

    Args:
        supernet, what, input_shapes: As in `Resource`.
        settings: Whose `latency_table` and `interpolate` count for milliseconds.

    Raises:
        KerasNasError: As in `Resource`, or the latency table cannot be read.
    """
    timed = what == "latency_ms" and settings.latency_table
    table = LatencyTable.load(Path(settings.latency_table)) if timed else None
    return Resource(
        supernet, what, input_shapes=input_shapes, table=table, interpolate=settings.interpolate
    )
