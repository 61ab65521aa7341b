"""Which nodes of which block an edge connects."""

from __future__ import annotations

import re
from typing import NamedTuple


class EdgePlace(NamedTuple):
    """What an edge connects.

    Attributes:
        block: The block, with which the names of its layers begin; empty where all blocks share the
            edge, or none is known.
        source: The node or operation that it comes from; empty where it is not known.
        target: The node that it feeds; empty for the block's output where nothing else is said.
    """

    block: str
    source: str
    target: str = ""

    @property
    def operation(self) -> str:
        """The operation it feeds; of an edge to the block's output, the one it comes from."""
        return self.source if self.target in ("", "output") else self.target

    @property
    def prefix(self) -> str:
        """What the names of the block's layers begin with."""
        return f"{self.block}_" if self.block else ""


def place_of(name: str) -> EdgePlace:
    """What an edge connects by its name alone, `{block}_edge_{source}_to_{target}` or shorter.

    >>> place_of("stage1_block2_edge_l1_sep3_to_output")
    EdgePlace(block='stage1_block2', source='l1_sep3', target='output')
    >>> place_of("stage1_block1_edge_mb3_k3")
    EdgePlace(block='stage1_block1', source='mb3_k3', target='')
    """
    match = re.fullmatch(r"(.*?)_?edge_?(.*)", name)
    block, rest = match.groups() if match else ("", name)
    source, _, target = rest.partition("_to_")
    return EdgePlace(block, source, target)
