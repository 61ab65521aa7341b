"""What a run says at its end: the table, and what was gained, in plain lines."""

from __future__ import annotations

import re
from typing import Any

from rich.console import Console

from keras_nas.choices import RESOURCES
from keras_nas.reporting.quality import qualities_of
from keras_nas.reporting.tables import reference_of, results_table
from keras_nas.runs.folder import RunFolder
from keras_nas.training.records import read_records


def print_summary(folder: RunFolder, console: Console | None = None) -> None:
    """Prints a run's table and findings.

    Args:
        folder: The run's folder.
        console: Where to; standard output by default.
    """
    console = console or Console(highlight=False)
    results = folder.read_results()
    rows = {name: row for name, row in results.get("rows", {}).items() if name != "gated"}
    console.print(f"\n{results['data']}", soft_wrap=True)
    console.print(results_table(rows))
    for line in findings(results, read_records(folder.metrics)):
        console.print(line, soft_wrap=True)


def findings(results: dict[str, Any], records: list[dict[str, Any]]) -> list[str]:
    """The lines below the table, each one left out where its stage has not run."""
    rows = results.get("rows", {})
    lines = []
    annealed = [record for record in records if "undecided" in record]
    if annealed:
        counts = ", ".join(f"{r['delta']:.3g}: {r['undecided']:,}" for r in annealed)
        total = annealed[-1]["channels"]
        lines.append(
            f"Undecided gates of {total:,} (further than 1e-3 from 0 and 1) by δ: {counts}."
        )
    lines += _changes(rows)
    lines += _random_baselines(rows)
    lines += _budget(rows, records)
    if "speedup" in results:
        lines.append(
            f"The small float32 .tflite is {results['speedup']:.2f}× as fast as the original's, "
            "measured in one interleaved run."
        )
    lines += [f"Warning: {line}." for line in results.get("splitting", [])]
    return lines


def _budget(rows: dict[str, Any], records: list[dict[str, Any]]) -> list[str]:
    """What the search was allowed, what it reached by its own count, and what the .tflite takes."""
    for what in RESOURCES:
        reached = [record for record in records if f"target_{what}" in record]
        if reached:
            target, left = reached[-1][f"target_{what}"], reached[-1]["resource"]
            if what != "latency_ms":
                return [f"Budget: {target:,.0f} {what} at most; the search left {left:,.0f}."]
            line = f"Budget: {target:.4g} ms at most; {left:.4g} ms are left by the latency table"
            measured = rows.get("small.tflite", {}).get("latency_ms")
            if measured is None:
                return [f"{line}."]
            side = "over" if measured > target else "under"
            off = 100 * abs(measured / target - 1)
            return [
                f"{line}; small.tflite takes {measured:.4g} ms here, {off:.1f} % {side} budget."
            ]
    return []


def _changes(rows: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    original = reference_of(rows)
    whose = "baseline" if "baseline" in rows else "original"
    quality = next(iter(qualities_of([original])), None)
    if quality is None:
        return lines
    if "gated" in rows and "pruned" in rows:
        gated, pruned = (quality.shown(rows[row][quality.key]) for row in ("gated", "pruned"))
        relation = "equals" if gated == pruned else "differs from"
        lines.append(
            f"{quality.name} just after surgery ({pruned}) {relation} that of the searched network "
            f"({gated})."
        )
    if "reestimated" in rows:
        renewed = quality.shown(rows["reestimated"][quality.key])
        lines.append(f"{quality.name} with its statistics estimated anew: {renewed}.")
    if "finetuned" in rows:
        drop = original[quality.key] - rows["finetuned"][quality.key]
        share = rows["finetuned"]["macs"] / original["macs"]
        unit = " points" if quality.unit == "%" else f" {quality.unit}".rstrip()
        change = f"{quality.shown(abs(drop))}{unit} {'below' if drop > 0 else 'above'}"
        lines.append(
            f"After finetuning: {share:.2f}× the MACs, {quality.name} {change} the {whose}'s."
        )
    return lines


def _random_baselines(rows: dict[str, Any]) -> list[str]:
    """The found network beside the random ones that were trained like it."""
    baselines = [row for name, row in rows.items() if re.fullmatch(r"random_\d+", name)]
    quality = next(iter(qualities_of(baselines)), None)
    if quality is None or "finetuned" not in rows:
        return []
    values = [row[quality.key] for row in baselines]
    mean = quality.shown(sum(values) / len(values))
    macs = " to ".join(f"{bound([row['macs'] for row in baselines]):,}" for bound in (min, max))
    return [
        f"The found network's {quality.label}: {quality.shown(rows['finetuned'][quality.key])} at "
        f"{rows['finetuned']['macs']:,} MACs. The mean of {len(values)} random networks of its "
        f"space, trained as it was: {mean} ({quality.shown(min(values))} to "
        f"{quality.shown(max(values))}) at {macs} MACs."
    ]
