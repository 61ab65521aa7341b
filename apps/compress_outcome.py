"""What came of a compression in a folder, with its files as they were measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from apps.tflite_stages import tflite_path
from export.arena import measured_arena
from keras_nas.compression.config import CompressConfig
from keras_nas.compression.outcome import Outcome, OutcomeRow, label_of, outcome_of, quality_row
from keras_nas.costs import LatencyTable
from keras_nas.loading import load_model
from keras_nas.reporting.quality import qualities_of
from keras_nas.runs.folder import RunFolder
from keras_nas.targets import parse_target

NOISE = 0.05
"""The share by which two measurements of the same file may differ."""
Row = Mapping[str, Any]


def outcome_of_run(
    budget: CompressConfig, formats: tuple[str, ...], folder: RunFolder, shape: tuple[int, ...]
) -> Outcome:
    """The outcome of a run; its files are measured, other costs as the search priced them.

    A budget of RAM is judged by the arena that the runtime plans for the file. A budget of
    milliseconds is judged by the measured time of the small network's float32 file, where that was
    measured on the table's device, and at the size that the table is of.

    Args:
        budget: What was asked for, with its latency table.
        formats: Of the files.
        folder: The run's.
        shape: What costs are counted at, where the network leaves its input's size open.
    """
    results = folder.read_results()
    rows: dict[str, Row] = results["rows"]
    keys = [quality.key for quality in qualities_of([rows["original"]]) if not quality.page_only]
    before, after = ({key: rows[name][key] for key in keys} for name in ("original", "finetuned"))
    original, small = (load_model(path) for path in (folder.original, folder.finetuned))
    reckoned = outcome_of(budget, original, small, before, after, shape).rows
    device = LatencyTable.load(budget.latency_table).device if budget.latency_table else ""
    files: list[OutcomeRow] = []
    for kind in formats:
        paths = [tflite_path(folder, name, kind) for name in ("original", "small")]
        pair = [rows[path.name] for path in paths]
        times = _times(results, kind, *pair)
        if kind == "float32" and device in times and not shape:
            (by_table,) = (row for row in reckoned if row.name == label_of("latency_ms"))
            reckoned = [row for row in reckoned if row is not by_table]
            times[device] = _judged(times[device], budget, by_table.small)
        files += [*_quality_and_size(budget, kind, keys[0], *pair), *times.values()]
        if kind in budget.forms_of("ram") and not shape:
            files.append(_arena(budget, kind, *map(measured_arena, paths)))
    measured = {row.name for row in files}
    return Outcome([*(row for row in reckoned if row.name not in measured), *files])


def _times(results: Row, kind: str, original: Row, small: Row) -> dict[str, OutcomeRow]:
    """The times of the two files of a format, by the device that they were measured on."""
    host, phone = results.get("host", ""), results.get("phone", "")
    found = {
        host: OutcomeRow(f"{kind} time", original["latency_ms"], small["latency_ms"], kind="ms")
    }
    if "phone_ms" in small:
        label = f"{kind} time on {phone.partition(' (')[0]}"
        found[phone] = OutcomeRow(label, original["phone_ms"], small["phone_ms"], kind="ms")
    return found


def _judged(row: OutcomeRow, budget: CompressConfig, predicted: float) -> OutcomeRow:
    """A measured time beside what was asked; a share is of the original as it was measured."""
    asked = parse_target("target_latency_ms", budget.targets["latency_ms"]).of(row.original)
    return dataclasses.replace(row, asked=asked, predicted=predicted, noise=NOISE)


def _quality_and_size(
    budget: CompressConfig, kind: str, metric: str, original: Row, small: Row
) -> list[OutcomeRow]:
    """The quality (of quantised files) and size of the two files of a format."""
    size = original["size"]
    asked = budget.asked_of("bytes", kind, size)
    found = [OutcomeRow(label_of("bytes", kind), size, small["size"], asked, "bytes")]
    if kind != "float32":
        found.insert(0, quality_row(metric, original[metric], small[metric], of=kind))
    return found


def _arena(budget: CompressConfig, kind: str, original: float, small: float) -> OutcomeRow:
    asked = budget.asked_of("ram", kind, original)
    return OutcomeRow(label_of("ram", kind), original, small, asked, "bytes")
