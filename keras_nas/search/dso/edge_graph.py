"""Which parts of a supernet its open edges keep alive."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import keras

from keras_nas.costs import count
from keras_nas.graph import Node, Value, kinds, read
from keras_nas.layers import ScaledEdge


class EdgeGraph:
    """The graph of a supernet with `ScaledEdge`s, for questions about sets of open edges.

    A value is *fed* if a way leads to it from the model's inputs without a closed edge, and *read*
    if such a way leads from it to the model's outputs. What is both is alive. A value that is not
    fed is a constant.

    Args:
        supernet: The model.

    Attributes:
        edges: The edges' names, in graph order.
        places: What each edge connects, by its name.
    """

    def __init__(self, supernet: keras.Model):
        self._graph = read(supernet)
        self._edge_of = {
            node: node.operation_name
            for node in self._graph.nodes
            if isinstance(node.operation, ScaledEdge)
        }
        self.places = {name: node.operation.place for node, name in self._edge_of.items()}
        self.edges = list(self.places)
        sizes_known = all(None not in value.shape[1:] for value in self._graph.inputs)
        self._macs = (
            {name: layer.macs for name, layer in count(supernet).by_layer.items()}
            if sizes_known
            else {}
        )

    def live_edges(self, opened: Collection[str]) -> set[str]:
        """Those of the opened edges that are alive, at one of their places at least."""
        return {self._edge_of[node] for node in self.live_nodes(opened) if node in self._edge_of}

    def live_nodes(self, opened: Collection[str]) -> list[Node]:
        """The operations (edges too) that are fed and read, in graph order."""
        shares = self._shares(opened)
        read_values = set(self._graph.outputs)
        alive = []
        for node in reversed(self._graph.nodes):
            fed = any(shares[value] for value in node.outputs)
            if fed and any(value in read_values for value in node.outputs):
                read_values.update(node.inputs)
                alive.append(node)
        return alive[::-1]

    def macs(self, opened: Collection[str]) -> dict[str, float]:
        """The macs of each live operation, by its name; where a concatenation has lost inputs, the
        operation behind it costs as much less."""
        shares = self._shares(opened)
        return {
            node.name: self._macs.get(node.name, 0)
            * max((shares[value] for value in node.inputs), default=1.0)
            for node in self.live_nodes(opened)
        }

    def reconnect(self, strengths: Mapping[str, float]) -> list[str]:
        """The closed edges to open again, so that every output of the model is fed.

        Where the open edges do not do it, those on the widest way to the output are taken: the way
        whose weakest closed edge is the strongest.

        Args:
            strengths: A positive number for each closed edge; the others are open.

        Returns:
            Names of edges, in graph order; none where all outputs are fed.
        """
        widths: dict[Value, float] = dict.fromkeys(self._graph.inputs, math.inf)
        ways: dict[Value, Value | None] = dict.fromkeys(self._graph.inputs)
        for node in self._graph.nodes:
            best = max(node.inputs, key=lambda value: widths[value], default=None)
            width = math.inf if best is None else widths[best]
            if node in self._edge_of:
                width = min(width, strengths.get(self._edge_of[node], math.inf))
            for value in node.outputs:
                widths[value], ways[value] = width, best
        reopened = set()
        for output in self._graph.outputs:
            place: Value | None = output if math.isfinite(widths[output]) else None
            while place is not None:
                if place.producer in self._edge_of:
                    reopened.add(self._edge_of[place.producer])
                place = ways[place]
        return [name for name in self.edges if name in reopened and name in strengths]

    def _shares(self, opened: Collection[str]) -> dict[Value, float]:
        """For each value the share of its channels that is fed, from 0 to 1."""
        shares: dict[Value, float] = dict.fromkeys(self._graph.inputs, 1.0)
        opened = set(opened)
        for node in self._graph.nodes:
            fed = [shares[value] for value in node.inputs]
            share = float(any(fed)) if fed else 1.0
            if node in self._edge_of:
                share = fed[0] if self._edge_of[node] in opened else 0.0
            elif kinds.kind(node.operation) in ("Concatenate", "ops.Concatenate") and any(fed):
                widths = [value.shape[-1] or 1 for value in node.inputs]
                share = sum(s * w for s, w in zip(fed, widths, strict=True)) / sum(widths)
            elif len(fed) == 1 and not self._macs.get(node.name):
                share = fed[0]
            shares.update(dict.fromkeys(node.outputs, share))
        return shares
