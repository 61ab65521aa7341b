"""The edges of DSO blocks, read back from the names in an Architecture."""

from __future__ import annotations

import re
from collections.abc import Mapping

from keras_nas.layers.edge_place import place_of
from keras_nas.models.dso_edges import Edge, live_edges, live_nodes

SHARED = "every block"


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
