"""Reshapes through rank 5 that do no more than reorder channels, as 1×1 convolutions."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from keras import layers

from keras_nas.graph.ir import Graph, Node, Value
from keras_nas.graph.kinds import kind

_MOVES = frozenset(["Permute", "Reshape", "ops.Reshape", "ops.Transpose"])
_RANK = 4


@dataclasses.dataclass(frozen=True)
class Shuffle:
    """A value whose channels are put in another order: `order[i]` is what becomes channel i."""

    source: Value
    order: np.ndarray


def find_shuffles(graph: Graph) -> dict[Node, Shuffle]:
    """Finds the last node of each chain of reshapes and transpositions that reorders channels.

    Only chains that pass a tensor of more than four axes are looked for, which the GPU delegate
    takes nothing of; whether one reorders channels is found out on numbers.
    """
    found = {}
    for node in graph.nodes:
        if kind(node.operation) in _MOVES and len(node.inputs[0].shape) == _RANK:
            chain = _chain(node)
            order = _order(chain, node.inputs[0].shape) if chain else None
            if order is not None:
                found[chain[-1]] = Shuffle(node.inputs[0], order)
    return found


def shuffled(x: Any, order: np.ndarray, name: str) -> Any:
    """The channels of `x` in another order, by a convolution of zeros and ones."""
    layer = layers.Conv2D(len(order), 1, use_bias=False, name=name, dtype=x.dtype)
    made = layer(x)
    layer.set_weights([np.eye(x.shape[-1])[None, None, :, order]])
    return made


def _chain(first: Node) -> list[Node]:
    """The moves from `first` to where the rank is 4 again; empty where it never is above."""
    chain = [first]
    while len(chain[-1].outputs[0].shape) > _RANK:
        readers = chain[-1].outputs[0].readers
        if len(readers) != 1 or kind(readers[0].operation) not in _MOVES:
            return []
        chain.append(readers[0])
    return chain if len(chain) > 1 else []


def _order(chain: list[Node], shape: tuple[int | None, ...]) -> np.ndarray | None:
    """The order that the chain gives to channels, or None where it does anything else."""
    sizes = [size for size in shape[1:] if size is not None]
    if len(sizes) < _RANK - 1 or chain[-1].outputs[0].shape[1:] != shape[1:]:
        return None
    numbers: Any = np.arange(math.prod(sizes), dtype="int32").reshape(1, *sizes)
    given = numbers
    for node in chain:
        args, kwargs = node.filled([numbers], [])
        numbers = node.operation(*args, **kwargs)
    made = np.asarray(numbers)
    order = made[0, 0, 0]
    return order if order.max() < sizes[-1] and np.array_equal(made, given[..., order]) else None
