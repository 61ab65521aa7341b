"""The λ of a block's edges in one variable, and their modes in another."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_nas.errors import UsageError

_together: contextvars.ContextVar[Mapping[int, Any]] = contextvars.ContextVar(
    "factors_by_edge", default=MappingProxyType({})
)


class Element:
    """One number of a vector: an edge's λ or mode, once the edges of a block hold theirs together.

    Args:
        vector: The block's numbers, a variable `(edges,)`.
        index: Which of them.
        shape: `(1,)` or `()`.
    """

    def __init__(self, vector: keras.Variable, index: int, shape: tuple[int, ...]):
        self.vector = vector
        self.index = index
        self.shape = shape
        self._place = slice(index, index + 1) if shape else index

    @property
    def dtype(self) -> str:
        return self.vector.dtype

    @property
    def value(self):
        """The number as a tensor, differentiable."""
        return ops.convert_to_tensor(self.vector)[self._place]

    def numpy(self) -> np.ndarray:
        """The number as an array."""
        return self.vector.numpy()[self._place]

    def assign(self, value: Any) -> None:
        """Sets the number and leaves those of the other edges.

        Raises:
            UsageError: If `value` is no number in the element's shape.
        """
        value = np.asarray(ops.convert_to_numpy(ops.convert_to_tensor(value, self.dtype)))
        if value.shape != self.shape:
            raise UsageError(
                f"An edge's number has the shape {self.shape}. Received: shape {value.shape}"
            )
        values = np.array(self.vector.numpy())
        values[self._place] = value
        self.vector.assign(values)

    def __tf_tensor__(self, dtype=None, name=None):
        return self.value if dtype is None else ops.cast(self.value, dtype)

    def __array__(self, dtype=None, copy=None):
        return np.array(self.numpy(), dtype=dtype)


def join_scales(edges: Sequence) -> list[keras.Variable]:
    """Lets the edges of each block hold their λ in one vector, which an optimizer moves as one.

    Their modes are held in another, so that a step reads two variables for all edges of a block.
    What the edges compute, and what they write to files, stays. Edges that hold theirs together
    already are left as they are.

    Args:
        edges: Built `ScaledEdge`s.

    Returns:
        The vectors of λ, in the order of the edges.
    """
    groups: dict[tuple[str, bool], list] = {}
    for edge in edges:
        if not isinstance(edge.scale, Element):
            groups.setdefault((edge.place.block, edge.trainable), []).append(edge)
    for (block, trainable), group in groups.items():
        values = np.concatenate([edge.scale.numpy() for edge in group])
        modes = np.array([edge._mode.numpy() for edge in group])
        with keras.name_scope(f"{block}_edges" if block else "edges"):
            scale = keras.Variable(
                values, dtype="float32", trainable=trainable, autocast=False, name="scale"
            )
            mode = keras.Variable(
                modes, dtype="int32", trainable=False, autocast=False, name="mode"
            )
        for index, edge in enumerate(group):
            edge.hold(Element(scale, index, (1,)), Element(mode, index, ()))
    return list({id(edge.scale.vector): edge.scale.vector for edge in edges}.values())


def edge_factor(edge):
    """The factor of an edge in its present mode: float32 tensor of shape `(1,)`."""
    found = _together.get().get(id(edge))
    return _factors(edge.probabilities(), edge._mode) if found is None else found


@contextlib.contextmanager
def factors_together(layers: Sequence) -> Iterator[None]:
    """While open, edges among `layers` whose λ are neighbours in a vector compute factors as one.

    A block has many edges: one by one, their factors are most of its graph. Values and gradients
    stay, where it is opened inside what records them.
    """
    groups: dict[int, list] = {}
    for layer in layers:
        if isinstance(getattr(layer, "scale", None), Element):
            groups.setdefault(id(layer.scale.vector), []).append(layer)
    found = {}
    for group in groups.values():
        group.sort(key=lambda edge: edge.scale.index)
        first, count = group[0].scale.index, len(group)
        if [edge.scale.index for edge in group] == list(range(first, first + count)):
            scales, modes = (
                ops.convert_to_tensor(element.vector)[first : first + count]
                for element in (group[0].scale, group[0]._mode)
            )
            factors = ops.split(_factors(scales, modes), count)
            found.update({id(edge): factor for edge, factor in zip(group, factors, strict=True)})
    token = _together.set(found)
    try:
        yield
    finally:
        _together.reset(token)


def _factors(scale, mode):
    soft, mode = ops.convert_to_tensor(scale), ops.convert_to_tensor(mode)
    hard = ops.equal(mode, 2)
    off = ops.equal(mode, 0)
    followed = ops.logical_not(off | (hard & (soft < 0)))
    return ops.cast(followed, "float32") * soft + ops.cast(off, "float32")
