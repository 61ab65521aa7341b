"""Counting the operations of a model that move channels about."""

from __future__ import annotations

import collections

import keras

import keras_nas as kn

MOVES = ("Take", "Pad", "GetItem")
"""What surgery's alignment writes: gathers, pads and slices."""


def moves(model: keras.Model) -> collections.Counter[str]:
    """How many operations of each kind in `MOVES` a model has; whole slices are none."""
    return collections.Counter(
        type(node.operation).__name__
        for node in kn.graph.read(model).nodes
        if type(node.operation).__name__ in MOVES and not _is_whole(node)
    )


def _is_whole(node) -> bool:
    """Whether a call is `x[:, :]`, by which surgery drops a Keras mask."""
    keys = [*node.args[1:], *node.kwargs.values()]
    return type(node.operation).__name__ == "GetItem" and all(
        part == slice(None) for key in keys for part in (key if isinstance(key, tuple) else (key,))
    )
