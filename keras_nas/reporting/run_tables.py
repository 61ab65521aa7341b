"""The tables of a run's page: networks, settings, environment."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_nas.reporting.quality import qualities_of
from keras_nas.reporting.run_contents import RunContents
from keras_nas.reporting.tables import format_cell, reference_of
from keras_nas.runs.config import RunConfig
from keras_nas.search.registry import default_config, names
from keras_nas.settings import flatten, text_of

COSTS = {
    "params": "params",
    "macs": "multiply-adds",
    "flops": "FLOPs (two each)",
    "size": "file",
    "latency_ms": "median ms",
    "phone_ms": "median ms on the phone",
}
STAGES_OF_ROWS = {
    "original": "before the search",
    "baseline": "trained by itself",
    "gated": "before surgery",
    "pruned": "after surgery",
    "reestimated": "statistics estimated anew",
    "finetuned": "after finetuning",
}


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        head: The columns' names; empty for a table without a head.
        rows: The cells.
        numbers: Whether all columns but the first hold numbers, which stand to the right.
    """

    head: list[str]
    rows: list[list[str]]
    numbers: bool = True


def networks_table(rows: Mapping[str, Mapping[str, Any]]) -> Table:
    """Quality and cost of each network of a run, costs beside those of `reference_of`.

    Args:
        rows: results.json's `rows`.
    """
    qualities = qualities_of(rows.values())
    costs = [key for key in COSTS if any(key in row for row in rows.values())]
    base = reference_of(rows)
    head = ["network", "stage", *(q.label for q in qualities), *(COSTS[key] for key in costs)]
    body = []
    for name, row in rows.items():
        cells = [q.shown(row[q.key]) if q.key in row else "" for q in qualities]
        body.append([name, _kind_of(name), *cells, *(_cost(key, row, base) for key in costs)])
    return Table(head, body)


def _kind_of(name: str) -> str:
    if name.endswith(".tflite"):
        return "as .tflite"
    return STAGES_OF_ROWS.get(name, "to compare with")


def _cost(key: str, row: Mapping[str, Any], base: Mapping[str, Any]) -> str:
    if key != "flops" or key not in row:
        return format_cell(key, row, base)
    return format_cell("macs", {"macs": row[key]}, {"macs": base.get(key, 0)})


def outcome_table(outcome: Mapping[str, Any]) -> Table:
    """What was asked of a compression and what is reached.

    Args:
        outcome: results.json's `outcome`.
    """
    return Table(outcome["head"], [row["shown"] for row in outcome["rows"]])


def accelerators_table(measurements: Sequence[Mapping[str, Any]]) -> Table:
    """What accelerators take of each measured file, one row a file and accelerator.

    Args:
        measurements: The results of benchmark reports; those of before the report held it have no
            `coverage`.
    """
    rows: dict[tuple[str, ...], list[str]] = {}
    for result in measurements:
        for one in result.get("coverage", []):
            file = Path(result["model"]["path"]).name
            parts = "" if one["partitions"] is None else str(one["partitions"])
            left = "; ".join(map(_left, one["left"]))
            row = [
                file, one["accelerator"], f"{one['taken']} of {one['nodes']}", parts, left,
                one["source"],
            ]  # fmt: skip
            rows[tuple(row)] = row
    head = ["file", "accelerator", "nodes", "partitions", "left to the processor", "by"]
    return Table(head, list(rows.values()), numbers=False)


def _left(left: Mapping[str, Any]) -> str:
    reason = f" ({left['reason']})" if left["reason"] else ""
    return f"{left['operation']} ×{left['count']}{reason}"


def asked_table(run: RunContents) -> Table:
    """The settings of a run that are not the defaults."""
    return Table(["setting", "value"], _lines(_asked(run)), numbers=False)


def all_settings_table(run: RunContents) -> Table:
    """Every setting of a run and its method."""
    return Table(["setting", "value"], _lines(_settings(run)), numbers=False)


def command(run: RunContents) -> str:
    """A command that asks for the same run."""
    flags = [f"--{name}={text_of(value)}" for name, value in _asked(run).items()]
    return f"python -m apps.search {shlex.join(flags)}"


def environment_table(run: RunContents) -> Table:
    """Versions, the devices that measured, and the time of each stage."""
    lines = [[name, str(version)] for name, version in run.config.get("versions", {}).items()]
    devices = {
        (device["kind"], device["name"], device.get("os") or "")
        for device in (result["device"] for result in run.benchmarks)
    }
    lines += [[f"measured on ({kind})", f"{name}, {os}"] for kind, name, os in sorted(devices)]
    lines += [
        [f"stage {stage}", f"{seconds:,.1f} s"]
        for stage, seconds in run.results.get("seconds", {}).items()
    ]
    return Table(["what", "value"], lines, numbers=False)


def _settings(run: RunContents) -> dict[str, Any]:
    return {**run.config["run"], **run.config["settings"]}


def _asked(run: RunContents) -> dict[str, Any]:
    method = run.config["run"].get("method")
    defaults = flatten(RunConfig())
    if method in names():
        defaults |= flatten(default_config(method))
    must = ("run_dir", "method", "model", "data")
    return {
        name: value
        for name, value in _settings(run).items()
        if name in must or (name in defaults and value != defaults[name]) or name not in defaults
        if name not in ("resume", "overwrite")
    }


def _lines(settings: Mapping[str, Any]) -> list[list[str]]:
    return [[name, text_of(value)] for name, value in settings.items()]
