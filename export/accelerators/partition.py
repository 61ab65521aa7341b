"""Cutting a graph in parts that a delegate takes and parts that stay, as the runtime does it."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

from export.accelerators.file_graph import Node


@dataclasses.dataclass(frozen=True)
class Part:
    """Nodes that run together.

    Attributes:
        taken: Whether the delegate runs them.
        nodes: Their places in the graph, in the order in which they were put here.
    """

    taken: bool
    nodes: tuple[int, ...]


def partition(nodes: Sequence[Node], taken: Collection[int]) -> list[Part]:
    """Returns the parts in the order in which the runtime runs them.

    It is what LiteRT's `PartitionGraphIntoIndependentNodeSubsets` does
    (tensorflow/lite/graph_info.cc, greedily, its default): the first node whose inputs are ready
    decides the kind of the part, and the part goes on, past nodes of the other kind, as long as any
    node of its kind is ready. What the runtime adds for nodes with a state of their own (they keep
    their order) is left out.

    Args:
        nodes: The graph's nodes.
        taken: Places of those that the delegate supports.
    """
    made_later = {place for node in nodes for place in node.outputs}
    waiting = list(range(len(nodes)))
    parts = []
    while waiting:
        part = _next_part(nodes, taken, waiting, made_later)
        if not part.nodes:
            raise ValueError(f"The nodes {waiting} read what no node before them makes.")
        parts.append(part)
    return parts


def _next_part(
    nodes: Sequence[Node], taken: Collection[int], waiting: list[int], made_later: set[int]
) -> Part:
    """Takes the next part's nodes out of `waiting`, and what they make out of `made_later`."""
    kind = False
    chosen: list[int] = []
    found = True
    while found:
        found = False
        for place in list(waiting):
            ready = made_later.isdisjoint(nodes[place].inputs)
            if ready and (not chosen or (place in taken) == kind):
                kind = place in taken
                chosen.append(place)
                waiting.remove(place)
                made_later.difference_update(nodes[place].outputs)
                found = True
    return Part(kind, tuple(chosen))
