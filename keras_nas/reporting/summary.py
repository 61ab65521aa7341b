"""What a run says at its end: the table, and what was gained, in plain lines."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from keras_nas.reporting.tables import results_table
from keras_nas.search.records import read_records
from keras_nas.search.run_folder import RunFolder


def print_summary(folder: RunFolder, console: Console | None = None) -> None:
    """Prints a run's table and findings.

    Args:
        folder: The run's folder.
        console: Where to; standard output by default.
    """
    console = console or Console(highlight=False, soft_wrap=False)
    results = folder.read_results()
    rows = {name: row for name, row in results.get("rows", {}).items() if name != "gated"}
    console.print(f"\n{results['data']}")
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
    if "gated" in rows and "pruned" in rows:
        gated, pruned = rows["gated"]["top1"], rows["pruned"]["top1"]
        relation = "equals" if gated == pruned else "differs from"
        lines.append(
            f"Top-1 just after surgery ({100 * pruned:.2f} %) {relation} that of the gated network "
            f"with hard gates ({100 * gated:.2f} %)."
        )
    if "original" in rows and "finetuned" in rows:
        drop = 100 * (rows["original"]["top1"] - rows["finetuned"]["top1"])
        share = rows["finetuned"]["macs"] / rows["original"]["macs"]
        change = f"{drop:.2f} points below" if drop > 0 else f"{-drop:.2f} points above"
        lines.append(f"After finetuning: {share:.2f}× the MACs, top-1 {change} the original's.")
    if "speedup" in results:
        lines.append(
            f"The float32 .tflite is {results['speedup']:.2f}× as fast as the original's, measured "
            "in one interleaved run."
        )
    return lines
