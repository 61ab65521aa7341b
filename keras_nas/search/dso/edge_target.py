"""A cost that DSO's edges are to come down to, and the networks of edges that are nearest."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from keras_nas.errors import UsageError
from keras_nas.search.dso.edge_graph import EdgeGraph
from keras_nas.targets import parse_target


class EdgeTarget:
    """How many macs the live edges may leave, and which of their networks is nearest to that.

    Args:
        graph: The supernet's graph.
        asked: The target as settings spell it, a number or a share of the supernet's macs.

    Attributes:
        full: Macs of the supernet with every edge open.
        macs: The target.

    Raises:
        UsageError: If it cannot be counted, or is more than the supernet or less than any network
            has.
    """

    def __init__(self, graph: EdgeGraph, asked: float | str):
        self._graph = graph
        self.full = sum(graph.macs(graph.edges).values())
        if not self.full:
            raise UsageError(
                "`edge_macs` needs a supernet whose input has a size, and macs. "
                f"Received: edge_macs={asked!r} with none that can be counted"
            )
        self.macs = parse_target("edge_macs", asked).of(self.full)
        least = self.left(dict.fromkeys(graph.edges, 1.0), ())
        if not least <= self.macs < self.full:
            raise UsageError(
                f"`edge_macs` must be from {least:,.0f}, what one way through the supernet has, to "
                f"less than {self.full:,.0f}, what all of it has. Received: {self.macs:,.0f}"
            )

    def left(self, strengths: Mapping[str, float], opened: Collection[str]) -> float:
        """Macs of the network of some open edges, after those that keep it in one piece.

        Args:
            strengths: λ of each edge; of the closed ones, which goes first where one is needed.
            opened: Names of the open edges.
        """
        held = set(opened)
        closed = {name: max(scale, 1e-9) for name, scale in strengths.items() if name not in held}
        return sum(self._graph.macs([*opened, *self._graph.reconnect(closed)]).values())

    def fewest(self, strengths: Mapping[str, float]) -> list[str]:
        """The weakest open edges, as few of them as have to close; the weakest first."""
        order = sorted((n for n in strengths if strengths[n] > 0), key=strengths.__getitem__)
        low, high = -1, len(order)
        while high - low > 1:
            middle = (low + high) // 2
            met = self.left(strengths, order[middle:]) <= self.macs
            low, high = (low, middle) if met else (middle, high)
        return order[:high]

    def nearest(self, strengths: Mapping[str, float], order: list[str]) -> list[str]:
        """Of some edges, those that close, first ones first, so that what is left is nearest.

        Args:
            strengths: λ of each edge; those above 0 are open, and all in `order` count as such.
            order: The edges that may close, in the order in which they do.
        """
        opened = [name for name, scale in strengths.items() if scale > 0 or name in order]

        def distance(count: int) -> float:
            left = self.left(strengths, [name for name in opened if name not in order[:count]])
            return abs(math.log(left / self.macs)) if left else math.inf

        return order[: min(range(len(order), -1, -1), key=distance)]
