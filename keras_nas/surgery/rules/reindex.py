"""Operations that only move elements: Reshape, Flatten, Permute, indexing, splits, flips."""

from __future__ import annotations

import functools
import operator

import keras
import numpy as np
import tensorflow as tf

from keras_nas.graph.kinds import kind
from keras_nas.surgery.channels import Channels
from keras_nas.surgery.rules.base import Rule
from keras_nas.surgery.rules.known_values import Known, Mask, either
from keras_nas.surgery.rules.moves import Move, Ways, follow
from keras_nas.surgery.rules.relaxed_vectors import gather, scatter, union


class Reindex(Rule):
    """Follows the elements: every index of the output's channel axis holds one input channel.

    Worked example: Flatten of (2, 1, 3) puts channels 0 1 2 0 1 2 on its one axis; keeping input
    channel 1 keeps outputs 1 and 4. Where elements of several channels meet at every index of every
    axis (a split of the channel axis in two), the rule does not apply.

    Args:
        ways: How a call may be remade for some of its channels; the first that is right is taken.
    """

    takes_arrays = True

    def __init__(self, ways: Ways):
        self.ways = ways

    def accepts(self, call):
        if len(call.node.inputs) != 1 or call.inputs[0] is None:
            return False
        return follow(call.node, call.input.axis, self.ways) is not None

    def move(self, call) -> Move:
        """How an accepted call moves its channels."""
        move = follow(call.node, call.input.axis, self.ways)
        assert move is not None
        return move

    def constants(self, call):
        return [
            Channels(target.axis, call.input.constants[target.origin])
            for target in self.move(call).targets
        ]

    def wants(self, call, produced):
        return [self.move(call).reads(produced)]

    def produces(self, call, produced, wants):
        return self.move(call).makes(produced, wants[0])

    def known(self, call, given, masks):
        x = given[0]
        return [
            Known(gather(x.live, target.origin), gather(x.constant, target.origin), x.zero)
            for target in self.move(call).targets
        ]

    def needs(self, call, given, produced):
        move = self.move(call)
        hits = [
            _hit(made, target.origin, move.count)
            for made, target in zip(produced, move.targets, strict=True)
        ]
        reads = functools.reduce(either, hits)
        return [reads], produced[0] if move.exact else gather(reads, move.targets[0].origin)

    def alive(self, call, given, factors, h):
        return [gather(given[0], target.origin) for target in self.move(call).targets]

    def asked(self, call, asked, factors, h):
        move = self.move(call)
        back = [
            scatter(part, target.origin, move.count, h)
            for part, target in zip(asked, move.targets, strict=True)
        ]
        return [union(back, h)]

    def gathers(self, call):
        move, read = self.move(call), np.flatnonzero(call.wants[0])
        return move.remake in CHOOSING and any(
            mask.any() and not np.array_equal(read, target.origin[mask])
            for target, mask in zip(move.targets, call.produces, strict=True)
        )

    def row_macs(self, call):
        return 0.0

    def build(self, call, builder):
        move, tensor = self.move(call), builder.fetch(call, 0)

        def run(tensor, changes=None):
            return builder.apply(call, [tensor], changes)

        return move.remake(call.node, move, run, tensor, call.wants[0], call.produces)


def _hit(made: Mask, origin: np.ndarray, count: int) -> Mask:
    """Which of `count` places those of `made` come from."""
    if np.array_equal(origin, np.arange(count)):
        return made
    return tf.math.unsorted_segment_max(tf.cast(made, tf.int32), origin, count) > 0


def as_is(node, move: Move, run, tensor, read, chosen) -> list:
    """The operation works on other axes: any channels will do."""
    return run(tensor)


def taken(node, move: Move, run, tensor, read, chosen) -> list:
    """The operation only chooses among the channels."""
    return [
        _take(tensor, read, target.origin[mask], move.axis) if mask.any() else None
        for target, mask in zip(move.targets, chosen, strict=True)
    ]


def picked(node, move: Move, run, tensor, read, chosen) -> list:
    """The operation picks one channel, and its axis goes."""
    key: list = [slice(None)] * len(node.inputs[0].shape)
    results = []
    for target, mask in zip(move.targets, chosen, strict=True):
        key[move.axis] = _place(read, target.origin[0])
        results.append(tensor[tuple(key)] if mask.any() else None)
    return results


def reshaped(node, move: Move, run, tensor, read, chosen) -> list:
    """Reshape, to a shape with as many channels as there are."""
    layer, axis, count = node.operation, move.targets[0].axis, int(chosen[0].sum())
    if kind(layer) == "Reshape":
        target = list(layer.target_shape)
        target[axis - 1] = -1 if target[axis - 1] == -1 else count
        return run(tensor, {"target_shape": target})
    shape = list(layer.newshape)
    shape[axis] = -1 if shape[axis] == -1 else count
    return [keras.ops.reshape(tensor, shape)]


def sliced(node, move: Move, run, tensor, read, chosen) -> list:
    """`x[...]` along any axes; along the channels it only chooses among what is there."""
    key, place = _key(node, move.axis)
    if not isinstance(key[place], slice):
        raise TypeError("One channel is picked.")
    key[place] = slice(None)
    plain = all(part == slice(None) for part in key)
    result = tensor if plain else tensor[tuple(key)]
    target = move.targets[0]
    return [_take(result, read, target.origin[chosen[0]], target.axis)]


CHOOSING = (taken, picked, sliced)
"""The ways that write an operation of their own where more than one channel is there."""


def dropped(node, move: Move, run, tensor, read, chosen) -> list:
    """`x[..., 2]`, along other axes anything: the channel is where it is now."""
    key, place = _key(node, move.axis)
    operator.index(key[place])
    key[place] = _place(read, move.targets[0].origin[0])
    return [tensor[tuple(key)]]


def _take(tensor, read: np.ndarray, channels: np.ndarray, axis: int):
    """The given channels of a tensor that holds those of `read`."""
    kept = np.flatnonzero(read)
    if np.array_equal(kept, channels):
        return tensor
    return keras.ops.take(tensor, np.searchsorted(kept, channels).astype("int32"), axis=axis)


def _place(read: np.ndarray, channel: int) -> int:
    return int(np.searchsorted(np.flatnonzero(read), channel))


def _key(node, axis: int) -> tuple[list, int]:
    """The key of `x[key]` with `...` and missing axes written out; the place of `axis` in it."""
    key = node.args[1] if len(node.args) > 1 else node.kwargs["key"]
    key = list(key) if isinstance(key, (tuple, list)) else [key]
    if not any(part is Ellipsis for part in key):
        key.append(Ellipsis)
    place = next(i for i, part in enumerate(key) if part is Ellipsis)
    named = sum(part is not None and part is not Ellipsis for part in key)
    key[place : place + 1] = [slice(None)] * (len(node.inputs[0].shape) - named)
    return key, [i for i, part in enumerate(key) if part is not None][axis]


SHAPES: Ways = ((reshaped, False),)
SLICES: Ways = ((sliced, True), (dropped, False))
OTHERS: Ways = ((as_is, False), (taken, True), (picked, False))
