"""Operations that only move elements: Reshape, Flatten, Permute, slices, squeezes."""

from __future__ import annotations

import keras
import numpy as np

from keras_nas.graph.kinds import kind
from keras_nas.surgery.channels import Channels
from keras_nas.surgery.rules.base import Rule

OPEN_SIZE = 2
"""Stands in for an open size when elements are followed."""


class Reindex(Rule):
    """Follows the elements: every index of the output's channel axis holds one input channel.

    Worked example: Flatten of (2, 1, 3) puts channels 0 1 2 0 1 2 on its one axis; keeping input
    channel 1 keeps outputs 1 and 4. Where elements of several channels meet at every index of every
    axis (a split of the channel axis in two), the rule does not apply.
    """

    def accepts(self, call):
        return call.inputs[0] is not None and _follow(call.node, call.input.axis) is not None

    def constants(self, call):
        axis, origin = self._origin(call)
        return [Channels(axis, call.input.constants[origin])]

    def wants(self, call, produced):
        _, origin = self._origin(call)
        wanted = np.zeros(call.input.count, bool)
        wanted[origin[produced[0]]] = True
        return [wanted]

    def produces(self, call, produced, wants):
        _, origin = self._origin(call)
        return [wants[0][origin]]

    def row_macs(self, call):
        return 0.0

    def build(self, call, builder):
        axis, _ = self._origin(call)
        tensor = builder.fetch(call, 0)
        shape = list(call.node.outputs[0].shape)
        shape[axis] = int(call.produces[0].sum())
        name = kind(call.layer)
        if name == "Reshape":
            target = [-1 if size is None else size for size in shape[1:]]
            return builder.apply(call, [tensor], {"target_shape": target})
        if name == "ops.Reshape":
            return [keras.ops.reshape(tensor, [-1 if size is None else size for size in shape])]
        return builder.apply(call, [tensor])

    def _origin(self, call) -> tuple[int, np.ndarray]:
        """The output's channel axis and, for each index on it, the input channel there."""
        if call.origin is None:
            call.origin = _follow(call.node, call.input.axis)
        assert call.origin is not None
        return call.origin


class Slice(Reindex):
    """`x[...]` along any axes; along the channels it only chooses among what is there."""

    def accepts(self, call):
        return len(call.node.inputs) == 1 and super().accepts(call)

    def produces(self, call, produced, wants):
        return [produced[0]]

    def build(self, call, builder):
        _, origin = self._origin(call)
        tensor = builder.fetch(call, 0)
        key = list(_full_key(_slice_key(call.node), len(call.node.inputs[0].shape)))
        chosen = origin[call.produces[0]]
        kept = np.flatnonzero(call.wants[0])
        key[call.input.axis] = slice(None)
        plain = all(part == slice(None) for part in key)
        result = tensor if plain else tensor[tuple(key)]
        places = np.searchsorted(kept, chosen)
        if np.array_equal(places, np.arange(len(kept))):
            return [result]
        axis, _ = self._origin(call)
        return [keras.ops.take(result, places.astype("int32"), axis=axis)]


def _slice_key(node) -> tuple:
    key = node.args[1] if len(node.args) > 1 else node.kwargs["key"]
    return key if isinstance(key, tuple) else (key,)


def _full_key(key: tuple, rank: int) -> tuple:
    """The key with `...` written out and missing axes filled; integers and None stay."""
    if any(part is Ellipsis for part in key):
        place = next(i for i, part in enumerate(key) if part is Ellipsis)
        named = sum(part is not None and part is not Ellipsis for part in key)
        key = key[:place] + (slice(None),) * (rank - named) + key[place + 1 :]
    named = sum(part is not None for part in key)
    return key + (slice(None),) * (rank - named)


def _follow(node, axis: int) -> tuple[int, np.ndarray] | None:
    """The output axis that holds channels and, for each index on it, the input channel there."""
    value = node.inputs[0]
    shape = [OPEN_SIZE if size is None else size for size in value.shape]
    shape[0] = 1
    along = [1] * len(shape)
    along[axis] = shape[axis]
    labels = np.broadcast_to(np.arange(shape[axis]).reshape(along), shape)
    moved = _moved(node, labels)
    if moved is None or moved.ndim < 2 or moved.shape[0] != 1:
        return None
    output = node.outputs[0]
    for candidate in reversed(range(1, moved.ndim)):
        first = np.moveaxis(moved, candidate, -1).reshape(-1, moved.shape[candidate])
        if output.shape[candidate] == moved.shape[candidate] and (first == first[0]).all():
            return candidate, first[0]
    return None


def _moved(node, labels: np.ndarray) -> np.ndarray | None:
    """The labels after the operation, by NumPy; `None` where the call cannot be followed."""
    name, output = kind(node.operation), node.outputs[0]
    if name in ("Reshape", "Flatten", "ops.Reshape", "ops.Squeeze", "ops.ExpandDims"):
        target = [1] + [OPEN_SIZE if size is None else size for size in output.shape[1:]]
        if output.shape[0] is not None and output.shape[0] != node.inputs[0].shape[0]:
            return None
        return labels.reshape(target) if np.prod(target) == labels.size else None
    if name == "Permute":
        return labels.transpose((0, *node.operation.dims))
    if name == "ops.Transpose":
        axes = node.operation.axes
        return None if axes is None or axes[0] != 0 else labels.transpose(axes)
    if name == "ops.GetItem":
        return _sliced_labels(node, labels)
    return None


def _sliced_labels(node, labels: np.ndarray) -> np.ndarray | None:
    key = _full_key(_slice_key(node), labels.ndim)
    ordinary = all(isinstance(part, (slice, int)) for part in key)
    if (
        not ordinary
        or key[0] != slice(None)
        or any(
            size is None and part != slice(None)
            for size, part in zip(node.inputs[0].shape[1:], key[1:], strict=True)
        )
    ):
        return None
    return labels[key]
