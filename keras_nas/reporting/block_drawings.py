"""Drawings of the blocks that DSO found (its Fig. 6)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from keras_nas.models.dso_edges import INPUT, OUTPUT, Edge

COLUMNS = 3
INK, BOX, LINE = "#1c2733", "#e4eef8", "#5b7da0"


def block_drawings(blocks: Mapping[str, Sequence[Edge]]) -> Figure:
    """Draws each block as a graph from its input (left) to its output (right), a column a level.

    Args:
        blocks: The live edges of each block; see `block_edges.edges_by_block`. Operations of the
            first level always read the input.
    """
    rows = math.ceil(len(blocks) / COLUMNS)
    columns = min(COLUMNS, len(blocks))
    figure = Figure(figsize=(4.6 * columns, 3.0 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, (block, edges) in zip(grid, blocks.items(), strict=False):
        axes.set_title(block, fontsize=9, color=INK)
        _draw(axes, list(edges))
    return figure


def _draw(axes, edges: Sequence[Edge]) -> None:
    if not edges:
        axes.text(0.5, 0.5, "no live edge: only the shortcut is left", ha="center", fontsize=8)
        return
    nodes = {node for edge in edges for node in edge} | {INPUT, OUTPUT}
    feeds = [(INPUT, node) for node in sorted(nodes) if node.startswith("l1_")]
    places = _places(nodes)
    for source, target in [*feeds, *edges]:
        (x0, y0), (x1, y1) = places[source], places[target]
        bend = 0.0 if x1 - x0 <= 1 else 0.18
        axes.add_patch(
            FancyArrowPatch(
                (x0, y0), (x1, y1), arrowstyle="-|>", mutation_scale=9, color=LINE, linewidth=0.9,
                shrinkA=16, shrinkB=17, connectionstyle=f"arc3,rad={bend}",
            )
        )  # fmt: skip
    for node, (x, y) in places.items():
        axes.text(
            x, y, re.sub(r"^l\d+_", "", node), ha="center", va="center", fontsize=8, color=INK,
            bbox={"boxstyle": "round,pad=0.3", "facecolor": BOX, "edgecolor": LINE},
        )  # fmt: skip
    last = max(x for x, _ in places.values())
    height = max(abs(y) for _, y in places.values())
    axes.set_xlim(-0.5, last + 0.5)
    axes.set_ylim(-height - 0.7, height + 0.7)


def _places(nodes: set[str]) -> dict[str, tuple[float, float]]:
    levels: dict[int, list[str]] = {}
    for node in sorted(nodes - {INPUT, OUTPUT}):
        match = re.match(r"l(\d+)_", node)
        levels.setdefault(int(match[1]) if match else 1, []).append(node)
    places = {INPUT: (0.0, 0.0), OUTPUT: (max(levels, default=0) + 1.0, 0.0)}
    for level, members in levels.items():
        for index, node in enumerate(members):
            places[node] = (float(level), (len(members) - 1) / 2 - index)
    return places
