"""What a run leaves for its reader: metrics.jsonl and TensorBoard's events."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import tensorflow as tf

from keras_nas.files import atomic_write_text


def read_records(path: Path) -> list[dict[str, Any]]:
    """The records of a metrics.jsonl; none if the file does not exist."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def write_records(path: Path, stage: str, records: Sequence[Mapping[str, Any]]) -> None:
    """Puts a stage's records into metrics.jsonl, in the place of those it had there.

    The other stages' records stay, so that a resumed or repeated stage never counts twice.
    """
    present = read_records(path)
    first = next((i for i, record in enumerate(present) if record["stage"] == stage), len(present))
    before = [record for record in present[:first] if record["stage"] != stage]
    after = [record for record in present[first:] if record["stage"] != stage]
    lines = [json.dumps(record) for record in [*before, *records, *after]]
    atomic_write_text(path, "\n".join(lines) + "\n" if lines else "")


class TensorBoardWriter:
    """TensorBoard's scalars, histograms and images of one stage.

    Args:
        directory: The folder of the stage's event files; None writes nothing.
    """

    def __init__(self, directory: Path | None):
        self._writer = tf.summary.create_file_writer(str(directory)) if directory else None

    def write(
        self,
        step: int,
        scalars: Mapping[str, Any],
        histograms: Mapping[str, np.ndarray],
        images: Mapping[str, np.ndarray] = MappingProxyType({}),
    ) -> None:
        """Writes the numbers among `scalars`, `histograms`, and 4 images a tag, at a step."""
        if self._writer is None:
            return
        with self._writer.as_default(step):
            for name, value in scalars.items():
                if isinstance(value, (int, float)) and not isinstance(value, bool):
                    tf.summary.scalar(name, value)
            for name, values in histograms.items():
                tf.summary.histogram(name, values, buckets=20)
            for name, batch in images.items():
                tf.summary.image(name, batch, max_outputs=4)
        self._writer.flush()

    def close(self) -> None:
        """Closes the event file."""
        if self._writer is not None:
            self._writer.close()
