"""What XNNPACK takes of a .tflite, as the runtime of this machine reports it."""

from __future__ import annotations

import importlib.metadata
from typing import Any

from export.accelerators.coverage import Coverage, count_left

XNNPACK_IN_FLOAT = ("SOFTMAX",)
"""What it takes in float32 and not in int8, and no other operation stands for."""
_DELEGATE = "DELEGATE"


def xnnpack_coverage(interpreter: Any) -> Coverage:
    """Asks an interpreter which nodes its delegate runs.

    Args:
        interpreter: LiteRT's `Interpreter`, with XNNPACK (its default) and allocated tensors.
    """
    nodes, parts = _nodes_and_parts(interpreter)
    taken = taken_nodes(interpreter)
    left = [(node["op_name"], "") for place, node in enumerate(nodes) if place not in taken]
    return Coverage(
        "xnnpack",
        f"LiteRT {importlib.metadata.version('ai-edge-litert')} on this machine",
        nodes=len(nodes),
        taken=len(taken),
        partitions=len(parts),
        left=count_left(left),
    )


def taken_nodes(interpreter: Any) -> set[int]:
    """Returns the places of the file's nodes that an interpreter's delegate runs.

    The runtime keeps the nodes of the file and adds one for each part that the delegate runs, with
    the part's inputs and outputs: what lies between these is the part.
    """
    nodes, parts = _nodes_and_parts(interpreter)
    makers = {int(made): place for place, node in enumerate(nodes) for made in node["outputs"]}
    return {place for part in parts for place in _inside(part, nodes, makers)}


def _nodes_and_parts(interpreter: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    every = interpreter._get_ops_details()
    return (
        [node for node in every if node["op_name"] != _DELEGATE],
        [node for node in every if node["op_name"] == _DELEGATE],
    )


def _inside(part: dict[str, Any], nodes: list[dict[str, Any]], makers: dict[int, int]) -> set[int]:
    """The nodes that a part's outputs need, back to the part's inputs."""
    given = {int(place) for place in part["inputs"]}
    found: set[int] = set()
    wanted = [int(place) for place in part["outputs"]]
    while wanted:
        place = wanted.pop()
        maker = makers.get(place)
        if place not in given and maker is not None and maker not in found:
            found.add(maker)
            wanted += map(int, nodes[maker]["inputs"])
    return found
