"""How the nodes of a DSO block are connected: by edges to be learned, or by fixed ones."""

from __future__ import annotations

import abc
from collections.abc import Iterable

import keras

from keras_nas.layers import ScaledEdge
from keras_nas.models.dso_edges import Edge, edge_name


class Connections(abc.ABC):
    """What a block asks about its edges."""

    @abc.abstractmethod
    def is_read(self, node: str) -> bool:
        """Whether an edge leaves `node`; without one it need not be made."""

    @abc.abstractmethod
    def connect(
        self, tensor: keras.KerasTensor, source: str, target: str
    ) -> keras.KerasTensor | None:
        """What `target` reads of `tensor`, the output of `source`; None where there is no edge."""


class ScaledConnections(Connections):
    """Every edge is there and carries a `ScaledEdge`.

    Args:
        block: Name of the block; empty where blocks share the edges.

    Attributes:
        edges: The layers by edge. Blocks that are given one `ScaledConnections` share them.
    """

    def __init__(self, block: str = ""):
        self.block = block
        self.edges: dict[Edge, ScaledEdge] = {}

    def is_read(self, node):
        return True

    def connect(self, tensor, source, target):
        if (source, target) not in self.edges:
            self.edges[source, target] = ScaledEdge(
                block=self.block,
                source=source,
                target=target,
                name=edge_name(self.block, source, target),
            )
        return self.edges[source, target](tensor)


class FixedConnections(Connections):
    """The edges of a list, without scales.

    Args:
        edges: The edges that are there; all of them where it is None.
    """

    def __init__(self, edges: Iterable[Edge] | None = None):
        self.edges = None if edges is None else {(source, target) for source, target in edges}

    def is_read(self, node):
        return self.edges is None or any(source == node for source, _ in self.edges)

    def connect(self, tensor, source, target):
        return tensor if self.edges is None or (source, target) in self.edges else None
