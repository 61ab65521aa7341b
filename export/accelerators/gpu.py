"""What the GPU delegate takes of a .tflite, by the table of its operations."""

from __future__ import annotations

import dataclasses
from typing import Any

from export.accelerators.coverage import Coverage, count_left
from export.accelerators.file_graph import FileGraph, Node
from export.accelerators.gpu_operations import DOCUMENTED, NEWER, GpuOperation
from export.accelerators.partition import partition

SOURCE = "the documented operations of LiteRT's GPU delegate"
_DTYPES = {"float32", "float16"}
_QUANTIZED = {"int8", "uint8"}
_RANK = 4


def gpu_coverage(model: Any) -> Coverage:
    """Finds what the GPU delegate takes by its documented list.

    By default the delegate runs only the partition with the most nodes
    (`max_delegated_partitions`); the number of partitions is that of all.

    Args:
        model: What `export.flatbuffer.read` returned.
    """
    graph = FileGraph.of(model)
    folded = _folded(graph)
    graph = _with_constants(graph, folded)
    reasons = {
        place: why_left(graph, node)
        for place, node in enumerate(graph.nodes)
        if place not in folded
    }
    taken = {place for place, reason in reasons.items() if not reason}
    rest = list(reasons)
    parts = partition(
        [graph.nodes[place] for place in rest],
        {number for number, place in enumerate(rest) if place in taken},
    )
    left = [(graph.nodes[place].operation, why) for place, why in reasons.items() if why]
    unread = _unread(graph, folded, taken)
    left += [("DEQUANTIZE", "of weights that a left node reads")] * len(unread)
    return Coverage(
        "gpu",
        SOURCE,
        nodes=len(graph.nodes),
        taken=len(taken) + len(folded) - len(unread),
        partitions=sum(part.taken for part in parts),
        left=count_left(left),
    )


def why_left(graph: FileGraph, node: Node) -> str:
    """Why the delegate does not take a node by its documented list; empty where it does.

    Where a delegate of TensorFlow's present source takes it, the reason says so.
    """
    row = DOCUMENTED.get(node.operation)
    if row is not None:
        return _refusal(graph, node, row)
    newer = NEWER.get(node.operation)
    if newer is None:
        return "no operation of the delegate"
    refusal = _refusal(graph, node, newer)
    if refusal:
        return f"not documented, and {refusal}"
    return "not documented, though newer delegates take it"


def _refusal(graph: FileGraph, node: Node, row: GpuOperation) -> str:
    tensors = graph.inputs_of(node) + graph.outputs_of(node)
    quantized = any(tensor.dtype in _QUANTIZED for tensor in tensors)
    limit = row.newest if quantized else row.version
    if node.version > limit:
        newer = ", though newer delegates take it" if node.version <= row.newest else ""
        return f"version {node.version}, above {limit}{newer}"
    rank = max(len(tensor.shape) for tensor in tensors)
    if rank > _RANK:
        return f"a tensor of rank {rank}"
    dtypes = _DTYPES | _QUANTIZED | row.dtypes
    foreign = sorted({t.dtype for t in tensors if not t.constant} - dtypes)
    if foreign:
        return f"tensors of {', '.join(foreign)}"
    return next((reason for ask in row.conditions if (reason := ask(graph, node))), "")


def _folded(graph: FileGraph) -> set[int]:
    """Nodes that widen float16 weights, which the delegate reads as they are."""
    return {
        place
        for place, node in enumerate(graph.nodes)
        if node.operation == "DEQUANTIZE"
        and all(t.constant and t.dtype == "float16" for t in graph.inputs_of(node))
    }


def _with_constants(graph: FileGraph, folded: set[int]) -> FileGraph:
    made = {output for place in folded for output in graph.nodes[place].outputs}
    return dataclasses.replace(
        graph,
        tensors=[
            dataclasses.replace(tensor, constant=True) if place in made else tensor
            for place, tensor in enumerate(graph.tensors)
        ],
    )


def _unread(graph: FileGraph, folded: set[int], taken: set[int]) -> set[int]:
    """Those of `folded` that a node which is not taken reads."""
    read = {
        place
        for number, node in enumerate(graph.nodes)
        if number not in taken
        for place in node.inputs
    }
    return {place for place in folded if read.intersection(graph.nodes[place].outputs)}
