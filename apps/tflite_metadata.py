"""Metadata in a run's .tflite files: the classes' names, the pixels that are wanted, the costs."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import keras

from apps.task_files import TaskFiles
from export import metadata
from export.errors import ExportError
from keras_nas.architecture import Architecture
from keras_nas.files import atomic_write_bytes

logger = logging.getLogger(__name__)

COSTS = ("macs", "params")


def describe_file(
    path: Path,
    files: TaskFiles,
    model: keras.Model,
    architecture: Architecture,
    most: float | None = None,
) -> bool:
    """Puts metadata into a small network's file; leaves it as it is, and says why, if it cannot.

    Args:
        path: The file.
        files: Those of its task.
        model: The Keras model that it was made from.
        architecture: What the search found.
        most: The bytes that the file may have; None for any.

    Returns:
        Whether the file has metadata now.
    """
    if not metadata.available():
        return _left(path, "tflite-support is not installed (it needs Python 3.11 or older)")
    before, after = (
        {name: costs[name] for name in COSTS if name in costs}
        for costs in (architecture.costs.get(when, {}) for when in ("before", "after"))
    )
    found_by = (architecture.method or "").upper()
    try:
        card = files.card(model, metadata.describe("", found_by, before, after))
        if card is None:
            return _left(path, "they cannot say that pixels enter as blue, green, red")
        with tempfile.TemporaryDirectory() as folder:
            described = metadata.write(path, card, Path(folder) / path.name).read_bytes()
    except ExportError as error:
        return _left(path, str(error))
    if most is not None and len(described) > most:
        return _left(path, f"it would have {len(described):,} bytes, and may have {most:,.0f}")
    atomic_write_bytes(path, described)
    return True


def _left(path: Path, why: str) -> bool:
    logger.warning("%s has no metadata: %s", path.name, why)
    return False
