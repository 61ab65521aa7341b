"""The γ of each edge while DSO searches: one for all, or by a budget."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping

import keras

from keras_nas.costs import count
from keras_nas.errors import KerasNasError
from keras_nas.regularizers import adaptive_flops, adaptive_latency, adaptive_mac
from keras_nas.search.dso.edge_graph import EdgeGraph

Gammas = Callable[[Collection[str]], dict[str, float]]
"""Takes the names of the open edges; gives γ by edge."""


def fixed_gammas(graph: EdgeGraph, gamma: float) -> Gammas:
    """The same γ for every edge."""
    return lambda opened: dict.fromkeys(graph.edges, gamma)


def flops_gammas(graph: EdgeGraph, gamma: float) -> Gammas:
    """Adaptive FLOPs (Eq. 17): an edge's γ goes down with what its block still computes.

    What a block computes is what its open edges keep alive beyond what would be there without
    edges.
    """
    blocks = {edge: place.prefix for edge, place in graph.places.items()}
    floor = _macs_by_block(graph.macs(()), blocks.values())
    complete = _macs_by_block(graph.macs(graph.edges), blocks.values())
    complete = {block: complete[block] - floor[block] for block in complete}
    if not all(complete.values()):
        raise KerasNasError(
            "Adaptive FLOPs needs macs that depend on the edges of each block. Received: none in "
            f"{[block for block, macs in complete.items() if not macs]}"
        )

    def gammas(opened):
        kept = _macs_by_block(graph.macs(opened), blocks.values())
        kept = {block: max(kept[block] - floor[block], 0) for block in kept}
        by_block = adaptive_flops(gamma, kept, complete)
        return {edge: by_block[block] for edge, block in blocks.items()}

    return gammas


def mac_gammas(graph: EdgeGraph, supernet: keras.Model, gamma: float) -> Gammas:
    """Adaptive MAC (Eq. 18): by the memory access of the operation that an edge belongs to.

    That is the operation it feeds; for an edge to a block's output, the one it comes from: the
    layers named `{block}_{operation}_…`.

    Raises:
        KerasNasError: If an edge's operation cannot be found.
    """
    by_layer = count(supernet).by_layer
    access = {}
    for edge in graph.edges:
        place = graph.places[edge]
        block = re.escape(place.prefix) or ".*_"
        pattern = re.compile(f"{block}{re.escape(place.operation)}_.*")
        costs = [
            costs.memory_access
            for name, costs in by_layer.items()
            if pattern.fullmatch(name) and not name.endswith("_sum")
        ]
        if not costs:
            raise KerasNasError(
                "Adaptive MAC needs edges named '{block}_edge_{source}_to_{target}' beside layers "
                f"named '{{block}}_{{operation}}_…'. Received: '{edge}', which fits no layer"
            )
        access[edge] = sum(costs)
    gammas = adaptive_mac(gamma, access)
    return lambda opened: gammas


def latency_gammas(
    graph: EdgeGraph, gamma: float, gamma_0: float, latency_ms: Mapping[str, float]
) -> Gammas:
    """Adaptive Latency (Eq. 19): by the time that the network saves without an edge.

    "The expected latency of a network is the sum" of its operations'; an edge saves those of the
    operations that die with it. Closed edges get γ₀.

    Args:
        graph: The supernet's graph.
        gamma, gamma_0: γ and γ₀.
        latency_ms: Milliseconds of each operation by its name in the graph; 0 where missing.
    """

    def total(opened) -> float:
        return sum(latency_ms.get(node.name, 0.0) for node in graph.live_nodes(opened))

    def gammas(opened):
        now, opened = total(opened), set(opened)
        saved = {edge: now - total(opened - {edge}) for edge in graph.edges if edge in opened}
        found = adaptive_latency(gamma, gamma_0, saved)
        return {edge: found.get(edge, gamma_0) for edge in graph.edges}

    return gammas


def _macs_by_block(macs: Mapping[str, float], blocks) -> dict[str, float]:
    return {
        block: sum(value for name, value in macs.items() if name.startswith(block))
        for block in dict.fromkeys(blocks)
    }
