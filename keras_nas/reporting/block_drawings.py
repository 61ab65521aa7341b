"""Drawings of the blocks that DSO found (its Fig. 6)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from keras_nas.models.dso_edges import INPUT, OUTPUT, Edge

COLUMNS = 3
INK, BOX, LINE = "#1c2733", "#e4eef8", "#5b7da0"
WIDTH, HEIGHT = 4.6, 3.0
BENDS = (0.0, 0.18, -0.18, 0.28, -0.28, 0.4, -0.4, 0.55, -0.55)
"""How far an arrow may bow out, the straight way first, as a share of its length."""
ROOM = (0.32, 0.17)
"""Half the width and height, in inches, that an arrow leaves to an operation on its way."""
_Place = tuple[float, float]


def block_drawings(blocks: Mapping[str, Sequence[Edge]]) -> Figure:
    """Draws each block as a graph from its input (left) to its output (right), a column a level.

    Args:
        blocks: The live edges of each block; see `dso_edges.edges_by_block`. Operations of the
            first level always read the input.
    """
    rows = math.ceil(len(blocks) / COLUMNS)
    columns = min(COLUMNS, len(blocks))
    figure = Figure(figsize=(WIDTH * columns, HEIGHT * rows), layout="constrained")
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
    last = max(x for x, _ in places.values())
    height = max(abs(y) for _, y in places.values())
    inches = (WIDTH / (last + 1), HEIGHT / (2 * height + 1.4))
    for source, target in [*feeds, *edges]:
        others = [place for node, place in places.items() if node not in (source, target)]
        bend = bend_around(places[source], places[target], others, inches)
        axes.add_patch(
            FancyArrowPatch(
                places[source], places[target], arrowstyle="-|>", mutation_scale=9, color=LINE,
                linewidth=0.9, shrinkA=16, shrinkB=17, connectionstyle=f"arc3,rad={bend}",
            )
        )  # fmt: skip
    for node, (x, y) in places.items():
        axes.text(
            x, y, re.sub(r"^l\d+_", "", node), ha="center", va="center", fontsize=8, color=INK,
            bbox={"boxstyle": "round,pad=0.3", "facecolor": BOX, "edgecolor": LINE},
        )  # fmt: skip
    axes.set_xlim(-0.5, last + 0.5)
    axes.set_ylim(-height - 0.7, height + 0.7)


def bend_around(
    start: _Place, end: _Place, others: Sequence[_Place], inches: tuple[float, float]
) -> float:
    """The least of `BENDS` with which an arrow runs through no other operation.

    Args:
        start, end: The arrow's ends.
        others: Where the other operations stand.
        inches: Length of a unit of x and of y.
    """
    first, last = (np.multiply(place, inches) for place in (start, end))
    boxes = np.reshape(others, (-1, 1, 2)) * inches
    t = np.linspace(0, 1, 60)[:, None]
    for bend in BENDS:
        dx, dy = last - first
        middle = (first + last) / 2 + bend * np.array([dy, -dx])
        curve = (1 - t) ** 2 * first + 2 * t * (1 - t) * middle + t**2 * last
        if not np.any(np.all(np.abs(curve - boxes) < ROOM, axis=-1)):
            return bend
    return BENDS[1]


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
