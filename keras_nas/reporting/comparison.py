"""Several runs side by side: a Pareto plot for each data set, with its table."""

from __future__ import annotations

from collections.abc import Sequence

from keras_nas.reporting.embedding import embed_figure
from keras_nas.reporting.paper_rows import paper_rows
from keras_nas.reporting.pareto import Point, pareto_plot
from keras_nas.reporting.quality import Quality, qualities_of
from keras_nas.reporting.run_contents import RunContents
from keras_nas.reporting.run_sections import Section
from keras_nas.reporting.run_tables import Table
from keras_nas.reporting.tables import format_count, reference_of

_PLACES = ("run_dir", "cache_dir", "data_dir", "stages", "resume", "overwrite", "progress")


def comparison_sections(runs: Sequence[RunContents]) -> list[Section]:
    """A section for each group of runs on the same data, image size and scale."""
    groups: dict[tuple, list[RunContents]] = {}
    for run in runs:
        enlarges = any("psnr_y" in row for row in run.rows.values())
        scale = run.setting("scale") if enlarges else None
        key = (run.setting("data"), run.setting("image_size") or 0, scale)
        groups.setdefault(key, []).append(run)
    several = len(groups) > 1
    return [_section(group, several) for group in groups.values()]


def differing_settings(runs: Sequence[RunContents]) -> list[str]:
    """The settings in which runs differ, in config.json's order; places and progress left out."""
    names: dict[str, None] = {}
    for run in runs:
        names.update(dict.fromkeys([*run.config["run"], *run.config["settings"]]))
    return [
        name
        for name in names
        if name not in _PLACES and len({repr(run.setting(name)) for run in runs}) > 1
    ]


def _section(runs: list[RunContents], several: bool) -> Section:
    data = str(runs[0].setting("data"))
    title = f"Quality against cost: {data}" if several else "Quality against cost"
    found = qualities_of(row for run in runs for row in run.rows.values())
    quality = found[0] if found else None
    points = [] if quality is None else _points(runs, quality)
    if quality is None or not points:
        return Section(
            title, missing="No network has both a metric and costs: the stage “weights” makes them."
        )
    references = []
    notes = []
    if quality.key == "top1":
        references = paper_rows(data, {str(run.setting("model")) for run in runs})
    if references:
        notes.append("Grey: the rows that DNAL (Tables I–III) and FGNAS (Table 6) print.")
    else:
        notes.append(
            f"No rows of the papers: those that are kept here are top-1 on CIFAR-10, not on {data}."
        )
    pending = [run.name for run in runs if "pruned" not in run.rows]
    if pending:
        notes.append(f"Without a small network yet (stage “surgery”): {', '.join(pending)}.")
    caption = "Networks by multiply-adds and quality, numbered as below; the line joins the best."
    image = embed_figure(pareto_plot(points, quality, references), caption)
    return Section(title, [image], _table(points, quality), notes)


def _points(runs: Sequence[RunContents], quality: Quality) -> list[Point]:
    points: list[Point] = []
    differing = differing_settings(runs)
    for run in runs:
        name = "baseline" if "baseline" in run.rows else "original"
        label = f"{name} ({run.setting('model')})"
        point = _point(reference_of(run.rows), label, quality, True)
        if point is not None and point not in points:
            points.append(point)
    for run in runs:
        name = "finetuned" if "finetuned" in run.rows else "pruned"
        told = [key for key in differing if run.setting(key) not in ({}, "", None)]
        facts = ", ".join(f"{key}={run.setting(key)}" for key in told[:4])
        label = f"{run.name}, {name}" + (f" ({facts})" if facts else "")
        point = _point(run.rows.get(name, {}), label, quality, False)
        if point is not None:
            points.append(point)
    return points


def _point(row, label: str, quality: Quality, is_original: bool) -> Point | None:
    if quality.key not in row or "macs" not in row:
        return None
    return Point(label, row["macs"], row[quality.key], is_original, row.get("params", 0))


def _table(points: Sequence[Point], quality: Quality) -> Table:
    rows = [
        [
            str(number),
            point.label,
            quality.shown(point.quality),
            format_count(point.macs),
            format_count(point.params),
        ]
        for number, point in enumerate(points, start=1)
    ]
    return Table(["no.", "network", quality.label, "multiply-adds", "params"], rows)
