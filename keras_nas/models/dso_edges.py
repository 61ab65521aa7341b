"""The graph of a DSO block: its nodes and edges by name, and which edges still matter."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from keras_nas.layers.scaled_edge import place_of

Edge = tuple[str, str]
"""Source and target: "input", "l{level}_{operation}" (levels from 1) or "output"."""

INPUT = "input"
OUTPUT = "output"
SHARED = "every block"
"""Stands for the block of edges that all blocks share."""


def block_names(stage_blocks: Iterable[int]) -> list[str]:
    """The names of the blocks of all stages, in order.

    >>> block_names([2, 1])
    ['stage1_block1', 'stage1_block2', 'stage2_block1']
    """
    return [
        f"stage{stage}_block{block + 1}"
        for stage, blocks in enumerate(stage_blocks, start=1)
        for block in range(blocks)
    ]


def node_levels(levels: int, operations: Sequence[str]) -> list[list[str]]:
    """The nodes of a block, level by level.

    >>> node_levels(2, ["sep3", "max3"])
    [['l1_sep3', 'l1_max3'], ['l2_sep3', 'l2_max3']]
    """
    return [[f"l{level}_{name}" for name in operations] for level in range(1, levels + 1)]


def block_edges(levels: int, operations: Sequence[str]) -> list[Edge]:
    """The scaled edges of a completely connected block (Eq. 1 and 2), in order of their targets.

    Each node of the second level and above reads the block's input and every node of every level
    below; the output reads all nodes. The nodes of the first level have one input, the block's: it
    carries no scale and is not counted.

    >>> block_edges(2, ["sep3"])
    [('input', 'l2_sep3'), ('l1_sep3', 'l2_sep3'), ('l1_sep3', 'output'), ('l2_sep3', 'output')]
    """
    edges: list[Edge] = []
    earlier = [INPUT]
    for level, nodes in enumerate(node_levels(levels, operations)):
        if level:
            edges += [(source, target) for target in nodes for source in earlier]
        earlier += nodes
    return edges + [(source, OUTPUT) for source in earlier[1:]]


def edge_name(block: str, source: str, target: str) -> str:
    """The name of an edge's layer; `block` is empty where blocks share the edge.

    >>> edge_name("stage1_block1", "l1_sep3", "output")
    'stage1_block1_edge_l1_sep3_to_output'
    """
    return "_".join([*([block] if block else []), "edge", source, "to", target])


def live_edges(edges: Iterable[Edge]) -> list[Edge]:
    """The edges on a path from the block's input to its output, in their own order.

    Nodes that read nothing, or that nobody reads, take their other edges with them. Nodes of the
    first level always read the input.

    >>> live_edges([("input", "l2_sep3"), ("l1_max3", "l2_sep3"), ("l1_max3", "output")])
    [('l1_max3', 'output')]
    """
    edges = list(edges)
    while True:
        read = {source for source, _ in edges} | {OUTPUT}
        fed = {target for _, target in edges} | {INPUT}
        kept = [
            (source, target)
            for source, target in edges
            if target in read and (source in fed or source.startswith("l1_"))
        ]
        if len(kept) == len(edges):
            return kept
        edges = kept


def live_nodes(edges: Iterable[Edge]) -> set[str]:
    """The nodes that live edges touch, without the block's input and output."""
    return {node for edge in live_edges(edges) for node in edge} - {INPUT, OUTPUT}


def edges_by_block(kept_edges: Mapping[str, float]) -> dict[str, list[Edge]]:
    """The live edges of each block.

    Args:
        kept_edges: λ by the edge's name, such as `stage1_block1_edge_l1_sep3_to_output`; without a
            block's name in front the edges are those of every block. 0 removes an edge.

    >>> edges_by_block({"b1_edge_l1_sep3_to_output": 0.5, "b1_edge_l1_max3_to_output": 0.0})
    {'b1': [('l1_sep3', 'output')]}
    """
    blocks: dict[str, list[Edge]] = {}
    for name, scale in kept_edges.items():
        block, source, target = place_of(name)
        if target:
            edges = blocks.setdefault(block or SHARED, [])
            if scale > 0:
                edges.append((source, target))
    return {block: live_edges(edges) for block, edges in blocks.items()}


def operations_by_block(kept_edges: Mapping[str, float]) -> dict[str, list[str]]:
    """The operations that live edges touch in each block: `{"stage1_block1": ["sep3", "max3"]}`."""
    return {
        block: [re.sub(r"^l\d+_", "", node) for node in sorted(live_nodes(edges))]
        for block, edges in edges_by_block(kept_edges).items()
    }
