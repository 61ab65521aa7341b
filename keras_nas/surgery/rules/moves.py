"""Following elements through an operation that only moves them, by trying it on numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import keras
import numpy as np

from keras_nas.graph import Node
from keras_nas.graph.ir import map_values
from keras_nas.graph.sample_shapes import sample_shape

OPEN_SIZES = (5, 7)
"""What stands in for an open size when elements are followed; both must lead to the same."""
BATCH = 2
"""How many samples an open batch has when elements are followed."""


@dataclass(frozen=True, eq=False)
class Target:
    """Where the channels are in one output.

    Attributes:
        axis: The axis that they lie on.
        origin: int `(indices of the axis,)`: the input channel at each.
    """

    axis: int
    origin: np.ndarray


@dataclass(frozen=True, eq=False)
class Move:
    """How a call moves the channels of its one input.

    Attributes:
        axis: The input's channel axis.
        count: The input's number of channels.
        targets: For each output, where the channels are.
        remake: How the outputs are made from some of the channels; see `Ways`.
        exact: Whether it makes the output channels asked for alone; else all of the channels read.
    """

    axis: int
    count: int
    targets: Sequence[Target]
    remake: Callable
    exact: bool

    def reads(self, produced: Sequence[np.ndarray]) -> np.ndarray:
        """The input channels that the outputs' `produced` channels come from."""
        wanted = np.zeros(self.count, bool)
        for target, mask in zip(self.targets, produced, strict=True):
            wanted[target.origin[mask]] = True
        return wanted

    def makes(self, produced: Sequence[np.ndarray], read: np.ndarray) -> list[np.ndarray]:
        """The output channels made when `produced` are asked for and `read` is there."""
        if self.exact:
            return list(produced)
        return [read[target.origin] for target in self.targets]


Ways = Sequence[tuple[Callable, bool]]
"""Ways to remake a call for some of its channels, each with whether it is `Move.exact`.

A way is called as `remake(node, move, run, tensor, read, chosen)`: `run(tensor, changes)` is the
operation itself, with changes to its configuration; `tensor` holds the input channels of `read`,
ascending; `chosen` are the channels to make of each output. It returns the outputs.
"""

_FOLLOWED: WeakKeyDictionary[Node, dict[int, Move | None]] = WeakKeyDictionary()


def follow(node: Node, axis: int, ways: Ways) -> Move | None:
    """How a call of one tensor moves the channels on `axis`; found out once a call.

    The call is run on numbered elements. It is understood if, in every output, each index of some
    axis holds elements of one input channel, and if one of the `ways` gives just those elements on
    a trial with a part of the channels. Else, or where it cannot be run, `None`.
    """
    found = _FOLLOWED.setdefault(node, {})
    if axis not in found:
        found[axis] = _follow(node, axis, ways)
    return found[axis]


def _follow(node: Node, axis: int, ways: Ways) -> Move | None:
    try:
        open_sizes = None in sample_shape(node.inputs[0], BATCH)
        sizes = OPEN_SIZES if open_sizes else OPEN_SIZES[:1]
        trials = [_Trial(node, axis, size) for size in sizes]
    except Exception:  # noqa: BLE001  (what an operation raises at sizes of our choice is its own)
        return None
    found = [trial.targets() for trial in trials]
    targets = found[0]
    if targets is None or not all(_same(targets, others) for others in found[1:]):
        return None
    for remake, exact in ways:
        move = Move(axis, int(node.inputs[0].shape[axis] or 0), targets, remake, exact)
        if all(trial.agrees(move) for trial in trials):
            return move
    return None


def _same(a: list[Target], b: list[Target] | None) -> bool:
    return b is not None and all(
        mine.axis == other.axis and np.array_equal(mine.origin, other.origin)
        for mine, other in zip(a, b, strict=True)
    )


def _wishes(targets: Sequence[Target]) -> list[list[np.ndarray]]:
    """What a trial asks for of each output: uneven parts of all, of one alone, one channel."""
    random = np.random.default_rng(0)
    lengths = [len(target.origin) for target in targets]
    wishes = [[random.random(length) < share for length in lengths] for share in (0.3, 0.6, 0.8)]
    for start in (0, 1):
        wishes.append([np.arange(length) % 2 == start for length in lengths])
    for first in (True, False):
        alone = [np.zeros(length, bool) for length in lengths]
        alone[0 if first else -1][: 1 if first else None] = True
        wishes.append(alone)
    return wishes


class _Trial:
    """One run of a call on numbered elements."""

    def __init__(self, node: Node, axis: int, open_size: int):
        self.node, self.axis = node, axis
        sizes = sample_shape(node.inputs[0], BATCH)
        self.shape = tuple(open_size + n if size is None else size for n, size in enumerate(sizes))
        self.elements = np.arange(np.prod(self.shape), dtype="int32").reshape(self.shape)
        self.results = [np.asarray(result) for result in self.run(self.elements)]

    def run(self, tensor: Any, changes: dict[str, Any] | None = None) -> list:
        """The call's outputs for `tensor` in place of its input."""
        if changes is not None:
            return [keras.ops.reshape(tensor, (tensor.shape[0], *changes["target_shape"]))]
        args, kwargs = map_values(lambda _: tensor, (self.node.args, self.node.kwargs))
        return keras.tree.flatten(self.node.operation(*args, **kwargs))

    def targets(self) -> list[Target] | None:
        """Where each output has its channels; `None` where one mixes them on every axis."""
        found = [
            self._target(result, value.shape)
            for result, value in zip(self.results, self.node.outputs, strict=True)
        ]
        known = [target for target in found if target is not None]
        return known if len(known) == len(found) else None

    def _target(self, result: np.ndarray, shape: tuple[int | None, ...]) -> Target | None:
        if result.ndim != len(shape) or result.size == 0:
            return None
        below = int(np.prod(self.shape[self.axis + 1 :]))
        labels = result // below % self.shape[self.axis]
        for axis in reversed(range(1, labels.ndim)):
            columns = np.moveaxis(labels, axis, -1).reshape(-1, labels.shape[axis])
            if shape[axis] == labels.shape[axis] and (columns == columns[0]).all():
                return Target(axis, columns[0])
        return None

    def agrees(self, move: Move) -> bool:
        """Whether the move makes the right elements of whatever part of the channels is wanted."""
        for produced in _wishes(move.targets):
            read = move.reads(produced)
            if read.any() and not self._is_right(move, read, move.makes(produced, read)):
                return False
        return True

    def _is_right(self, move: Move, read: np.ndarray, chosen: list[np.ndarray]) -> bool:
        part = np.compress(read, self.elements, axis=self.axis)
        try:
            made = move.remake(self.node, move, self.run, part, read, chosen)
        except Exception:  # noqa: BLE001  (a fixed shape or index that does not fit the part)
            return False
        return len(made) == len(chosen) and all(
            not mask.any()
            or np.array_equal(np.asarray(tensor), np.compress(mask, result, axis=target.axis))
            for tensor, mask, result, target in zip(
                made, chosen, self.results, move.targets, strict=True
            )
        )
