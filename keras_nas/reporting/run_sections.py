"""The sections of a run's page: each an image or table, or a line that says what would make it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from keras_nas.architecture import Architecture
from keras_nas.models.dso_edges import edges_by_block, operations_by_block
from keras_nas.reporting.block_drawings import block_drawings
from keras_nas.reporting.embedding import Image, embed_figure, embed_file
from keras_nas.reporting.operation_plots import kernels_per_layer, operations_per_layer
from keras_nas.reporting.plots import (
    channels_per_layer,
    gate_histograms,
    held_out_curves,
    latency_bars,
)
from keras_nas.reporting.run_contents import RunContents
from keras_nas.reporting.run_tables import (
    Table,
    accelerators_table,
    networks_table,
    outcome_table,
)

DRAWN_HERE = frozenset({"channels.png", "gates.png", "curves.png"})
"""Images of `plots.draw_run` that the page draws anew from the same files."""
BLOCK_WORDS = ("block", "genotype")


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of a run's page.

    Attributes:
        title: Its heading.
        images: Its images, with captions.
        table: Its table.
        notes: Lines below the heading.
        missing: Why it is empty, and which stage would fill it; empty where it is not.
    """

    title: str
    images: list[Image] = dataclasses.field(default_factory=list)
    table: Table | None = None
    notes: list[str] = dataclasses.field(default_factory=list)
    missing: str = ""


def sections_of(run: RunContents) -> list[Section]:
    """All sections of a run, in the order of the page."""
    return [
        results_section(run),
        curves_section(run),
        channels_section(run),
        operations_section(run),
        gates_section(run),
        blocks_section(run),
        latency_section(run),
        accelerators_section(run),
        samples_section(run),
    ]


def outcome_sections(runs: Sequence[RunContents]) -> list[Section]:
    """What was asked of each compression among some runs, and what it reached."""
    title = "Asked and reached"
    return [
        Section(
            title if len(runs) == 1 else f"{title}: {run.name}",
            table=outcome_table(run.results["outcome"]),
        )
        for run in runs
        if "outcome" in run.results
    ]


def results_section(run: RunContents) -> Section:
    title = "Accuracy and cost"
    if not run.rows:
        return Section(title, missing=_missing(run, "No results yet", "weights"))
    wanted = {
        "original": ("before", "weights"),
        "pruned": ("after surgery", "surgery"),
        "finetuned": ("after finetuning", "finetune"),
        "small.tflite": ("as .tflite", "export"),
    }
    notes = [
        _missing(run, f"No row “{label}”", stage)
        for row, (label, stage) in wanted.items()
        if row not in run.rows
    ]
    return Section(title, table=networks_table(run.rows), notes=notes)


def curves_section(run: RunContents) -> Section:
    title = "Held-out data by epoch"
    figure = held_out_curves(run.records)
    if figure is None:
        return Section(
            title,
            missing="Nothing was evaluated after the epochs so far: --validation_share holds data "
            "back for that.",
        )
    caption = "The metric on held-out data after each epoch, stage by stage."
    return Section(title, [embed_figure(figure, caption)])


def channels_section(run: RunContents) -> Section:
    title = "Channels per layer"
    if run.architecture is None:
        return Section(title, missing=_missing(run, "No architecture yet", "architecture"))
    kept = {name: len(channels) for name, channels in run.architecture.kept_channels.items()}
    if not kept:
        return Section(title, missing="This architecture has no channel gates: it keeps edges.")
    figure = channels_per_layer(run.architecture.channels, kept)
    return Section(title, [embed_figure(figure, "Channels that each gated layer had and keeps.")])


def operations_section(run: RunContents) -> Section:
    title = "Operations and kernels per layer"
    if run.architecture is None:
        return Section(title, missing=_missing(run, "No architecture yet", "architecture"))
    kept = operations_by_layer(run.architecture) or operations_by_block(run.architecture.kept_edges)
    if not any(kept.values()):
        return Section(
            title,
            missing="This architecture chooses channels alone: a search over operations "
            "or edges would fill this.",
        )
    images = [
        embed_figure(
            operations_per_layer(kept),
            "Kept operations by kind; in a mixed layer, one for each channel.",
        )
    ]
    kernels = kernels_per_layer(kept, run.architecture.kernel_sizes)
    if kernels is not None:
        images.append(embed_figure(kernels, "The same by kernel size."))
    return Section(title, images)


def operations_by_layer(architecture: Architecture) -> dict[str, list[str]]:
    """The operations of each mixed layer, each once for every channel that its gate keeps.

    An operation whose gate is not known (named `<layer>_<operation>_gate`) counts once.
    """
    kept = architecture.kept_channels
    return {
        layer: [
            operation
            for operation in operations
            for _ in kept.get(f"{layer}_{operation}_gate", [0])
        ]
        for layer, operations in architecture.kept_operations.items()
    }


def gates_section(run: RunContents) -> Section:
    title = "Gates by δ"
    records = [record for record in run.records if "histogram" in record and "delta" in record]
    if not records:
        if run.setting("method") != "dnal":
            return Section(title, missing="Only DNAL anneals its gates by δ.")
        return Section(title, missing=_missing(run, "No gate histograms yet", "architecture"))
    caption = (
        "Share of the gates in each of twenty equal bins of p, an epoch a row (DNAL's Fig. 3); "
        "on the right the gates further than 0.001 from 0 and 1."
    )
    return Section(title, [embed_figure(gate_histograms(records), caption)])


def blocks_section(run: RunContents) -> Section:
    title = "Blocks"
    images = [embed_file(path, _caption(path)) for path in run.images if _shows_block(path)]
    if run.architecture is not None:
        blocks = edges_by_block(run.architecture.kept_edges)
        if blocks:
            caption = "Live operations and edges of each block (DSO's Fig. 6)."
            images.insert(0, embed_figure(block_drawings(blocks), caption))
    if images:
        return Section(title, images)
    if run.setting("method") == "dso":
        return Section(title, missing=_missing(run, "No block drawings yet", "architecture"))
    return Section(title, missing="Only a search over edges (--method=dso) has blocks to draw.")


def latency_section(run: RunContents) -> Section:
    title = "Latency"
    if not run.benchmarks:
        return Section(
            title,
            missing=_missing(run, "Nothing measured yet", "benchmark")
            + " A phone's numbers: apps.benchmark_android, its JSON as benchmark_phone.json here.",
        )
    notes = [
        f"{Path(r['model']['path']).name}: {note}" for r in run.benchmarks for note in r["notes"]
    ]
    caption = "Measured latencies; files of one measurement took turns on the device."
    return Section(title, [embed_figure(latency_bars(run.benchmarks), caption)], notes=notes)


def accelerators_section(run: RunContents) -> Section:
    title = "What accelerators take"
    table = accelerators_table(run.benchmarks)
    if not table.rows:
        return Section(title, missing=_missing(run, "Nothing is known yet", "benchmark"))
    return Section(
        title,
        table=table,
        notes=["Between partitions values go through memory; the GPU delegate runs one partition "
               "unless its options ask for more."],
    )  # fmt: skip


def samples_section(run: RunContents) -> Section:
    title = "Images"
    paths = [path for path in run.images if path.name not in DRAWN_HERE and not _shows_block(path)]
    if not paths:
        return Section(
            title,
            missing="No sample images yet: the stage `export` draws them. Any PNG, JPEG or SVG "
            "in the run's plots/ is shown here.",
        )
    return Section(title, [embed_file(path, _caption(path)) for path in paths])


def _shows_block(path: Path) -> bool:
    return any(word in path.stem.lower() for word in BLOCK_WORDS)


def _caption(path: Path) -> str:
    return path.stem.replace("_", " ")


def _missing(run: RunContents, what: str, stage: str) -> str:
    return (
        f"{what}: the stage “{stage}” makes it "
        f"(python -m apps.search --run_dir={run.folder.path} --stages={stage} …)."
    )
