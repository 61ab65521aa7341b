"""Joins of several tensors element by element: Add, Multiply, Maximum, …, and arithmetic ops."""

from __future__ import annotations

import keras
import numpy as np

from keras_nas.graph import Value
from keras_nas.graph.ir import map_values
from keras_nas.graph.kinds import kind
from keras_nas.surgery.channels import Channels
from keras_nas.surgery.rules.base import Rule, positions
from keras_nas.surgery.rules.evaluate import on_constants

PRODUCTS = frozenset(["Multiply", "ops.Multiply"])
SUMS = frozenset(["Add", "ops.Add"])


class Merge(Rule):
    """Output channel c is f(channel c of every operand); one-channel operands broadcast.

    All operands come in the output's channels: one that lacks some of them is padded, or its
    producer widened. In a sum an operand that holds nothing but zeros is left out; in a sum or
    product one that holds nothing but constants becomes a Rescaling.
    """

    def accepts(self, call):
        output = call.node.outputs[0]
        count = output.channels
        return (
            count is not None
            and all(
                channels is not None and channels.is_last(value) and channels.count in (1, count)
                for channels, value in zip(call.inputs, call.node.inputs, strict=True)
            )
            and all(_fits(leaf, count) for leaf in _literals(call.node))
        )

    def constants(self, call):
        node = call.node
        count = node.outputs[0].channels
        operands = [np.broadcast_to(channels.constants, (count,)) for channels in call.inputs]
        known = ~np.isnan(operands).any(axis=0)
        result = np.full(count, np.nan)
        if known.any():
            stand_ins = {
                value: np.nan_to_num(channels.constants)
                for value, channels in zip(node.inputs, call.inputs, strict=True)
            }
            result[known] = np.broadcast_to(on_constants(node, stand_ins), (count,))[known]
        if kind(node.operation) in PRODUCTS:
            result[np.any([operand == 0 for operand in operands], axis=0)] = 0.0
        return [Channels(len(node.outputs[0].shape) - 1, result)]

    def wants(self, call, produced):
        mask = produced[0]
        skipped = self._skipped(call, mask)
        return [
            np.zeros(channels.count, bool)
            if skip
            else (mask if channels.count == len(mask) else np.array([mask.any()]))
            for channels, skip in zip(call.inputs, skipped, strict=True)
        ]

    def produces(self, call, produced, wants):
        return [produced[0]]

    def row_macs(self, call):
        return 2.0 * positions(call.node.outputs[0])

    def build(self, call, builder):
        node, produced = call.node, call.produces[0]
        reading = [i for i, wanted in enumerate(call.wants) if wanted.any()]
        tensors = {i: builder.fetch(call, i) for i in reading}
        if len(reading) == 1 and len(node.inputs) > 1:
            return [self._with_constants(call, builder, tensors[reading[0]], reading[0])]
        if isinstance(node.operation, keras.layers.Layer):
            return builder.apply(call, [[tensors[i] for i in reading]])
        numbers = iter(range(len(node.inputs)))
        args, kwargs = map_values(lambda _: tensors[next(numbers)], (node.args, node.kwargs))
        args, kwargs = keras.tree.map_structure(
            lambda leaf: _sliced(leaf, produced), (args, kwargs)
        )
        return [node.operation(*args, **kwargs)]

    def _skipped(self, call, mask) -> list[bool]:
        """For each operand: whether it is constant in every channel asked for, and can be baked."""
        operands = [
            np.broadcast_to(channels.constants, mask.shape)[mask] for channels in call.inputs
        ]
        name = kind(call.node.operation)
        if len(set(call.node.inputs)) < 2 or name not in SUMS | PRODUCTS:
            return [False] * len(operands)
        known = [not np.isnan(operand).any() for operand in operands]
        if sum(not k for k in known) == 1:
            return known if _live_has_shape(call, known) else [False] * len(operands)
        if name == "Add" and not all(known):
            return [k and not operand.any() for k, operand in zip(known, operands, strict=True)]
        return [False] * len(operands)

    def _with_constants(self, call, builder, tensor, live: int):
        mask = call.produces[0]
        others = [
            np.broadcast_to(channels.constants, mask.shape)[mask]
            for i, channels in enumerate(call.inputs)
            if i != live
        ]
        if kind(call.node.operation) in SUMS:
            scale, offset = np.ones(mask.sum()), np.sum(others, axis=0)
        else:
            scale, offset = np.prod(others, axis=0), np.zeros(mask.sum())
        return builder.rescale(call, tensor, scale, offset)


def _live_has_shape(call, known: list[bool]) -> bool:
    """Whether the one live operand has the output's own shape (nothing broadcasts it)."""
    live = call.node.inputs[known.index(False)]
    return live.shape == call.node.outputs[0].shape


def _literals(node) -> list:
    leaves = keras.tree.flatten((node.args, node.kwargs))
    return [leaf for leaf in leaves if not isinstance(leaf, Value)]


def _fits(leaf, count: int) -> bool:
    shape = tuple(getattr(leaf, "shape", ()))
    return len(shape) == 0 or shape[-1] in (1, count)


def _sliced(leaf, mask: np.ndarray):
    if isinstance(leaf, keras.KerasTensor):
        return leaf
    shape = tuple(getattr(leaf, "shape", ()))
    if len(shape) == 0 or shape[-1] != len(mask) or mask.all():
        return leaf
    return np.asarray(leaf)[..., mask]


class Concatenate(Rule):
    """Concatenation along the channels (operands side by side) or along another axis."""

    def accepts(self, call):
        return all(
            channels is not None and channels.is_last(value)
            for channels, value in zip(call.inputs, call.node.inputs, strict=True)
        )

    def constants(self, call):
        columns = [channels.constants for channels in call.inputs]
        axis = len(call.node.outputs[0].shape) - 1
        if self._along_channels(call):
            return [Channels(axis, np.concatenate(columns))]
        same = np.all([column == columns[0] for column in columns], axis=0)
        return [Channels(axis, np.where(same, columns[0], np.nan))]

    def wants(self, call, produced):
        if not self._along_channels(call):
            return [produced[0]] * len(call.inputs)
        ends = np.cumsum([channels.count for channels in call.inputs])
        return np.split(produced[0], ends[:-1])

    def produces(self, call, produced, wants):
        return [np.concatenate(wants)] if self._along_channels(call) else [produced[0]]

    def row_macs(self, call):
        return 0.0

    def build(self, call, builder):
        reading = [i for i, wanted in enumerate(call.wants) if wanted.any()]
        tensors = [builder.fetch(call, i) for i in reading]
        if len(tensors) == 1 and self._along_channels(call):
            return tensors
        if isinstance(call.layer, keras.layers.Layer):
            return builder.apply(call, [tensors])
        return [keras.ops.concatenate(tensors, axis=self._axis(call))]

    def _axis(self, call) -> int:
        return call.layer.axis % len(call.node.outputs[0].shape)

    def _along_channels(self, call) -> bool:
        return self._axis(call) == len(call.node.outputs[0].shape) - 1
