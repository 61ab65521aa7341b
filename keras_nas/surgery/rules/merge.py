"""Joins of several tensors element by element: Add, Multiply, Maximum, …, and arithmetic ops."""

from __future__ import annotations

import functools

import keras
import numpy as np
import tensorflow as tf

from keras_nas.graph import Value
from keras_nas.graph.kinds import kind
from keras_nas.surgery.channels import Channels
from keras_nas.surgery.rules.arrays import (
    arrays,
    by_channel,
    fits,
    map_operands,
    operands,
    take_channels,
)
from keras_nas.surgery.rules.base import Rule, positions
from keras_nas.surgery.rules.constant_folding import on_constants, on_known
from keras_nas.surgery.rules.known_values import (
    Known,
    both,
    either,
    of_array,
    of_width,
    settled,
    some,
)
from keras_nas.surgery.rules.relaxed_vectors import broadcast, concat, ones, times, union

_PARTS = ("live", "constant")
PRODUCTS = frozenset(["Multiply", "ops.Multiply"])
SUMS = frozenset(["Add", "ops.Add"])


class Merge(Rule):
    """Output channel c is f(channel c of every operand); one-channel operands broadcast.

    All operands come in the output's channels: one that lacks some of them is padded, or its
    producer extended. In a sum an operand that holds nothing but zeros is left out; in a sum or
    product one that holds nothing but constants becomes a Rescaling.
    """

    takes_arrays = True

    def accepts(self, call):
        node, output = call.node, call.node.outputs[0]
        count, rank = output.channels, len(output.shape)
        given = arrays(node)
        return (
            count is not None
            and output.dtype != "bool"
            and not (given and isinstance(node.operation, keras.layers.Layer))
            and all(
                channels is not None and channels.is_last(value) and channels.count in (1, count)
                for channels, value in zip(call.inputs, node.inputs, strict=True)
            )
            and all(fits(array, rank, rank - 1, count) for array in given)
        )

    def constants(self, call):
        node = call.node
        count = node.outputs[0].channels
        known = ~np.isnan(self._columns(call)).any(axis=0)
        result = np.full(count, np.nan)
        if known.any():
            stand_ins = {
                value: np.nan_to_num(channels.constants)
                for value, channels in zip(node.inputs, call.inputs, strict=True)
            }
            result[known] = np.broadcast_to(on_constants(node, stand_ins), (count,))[known]
        if kind(node.operation) in PRODUCTS:
            columns = [*self._columns(call), *array_columns(node)]
            result[np.any([column == 0 for column in columns], axis=0)] = 0.0
        return [Channels(len(node.outputs[0].shape) - 1, result)]

    @staticmethod
    def _columns(call) -> np.ndarray:
        """The constants of each input, (inputs, channels)."""
        count = call.node.outputs[0].channels
        return np.array([np.broadcast_to(c.constants, (count,)) for c in call.inputs])

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

    def known(self, call, given, masks):
        node = call.node
        width = node.outputs[0].channels
        if kind(node.operation) not in PRODUCTS and any(x.always_live for x in given):
            return None
        made = on_known(node, given, width)
        live = [made.live, *(of_width(x.live, width) for x in given)]
        known = Known(functools.reduce(either, live), made.constant, made.zero)
        if kind(node.operation) in PRODUCTS:
            nonzero = [of_width(x.nonzero, width) for x in given]
            nonzero += [column != 0 for column in array_columns(node)]
            stays = functools.reduce(both, nonzero)
            constant = known.constant if known.zero else tf.where(stays, known.constant, 0.0)
            known = Known(both(known.live, stays), constant, known.zero)
        return [known]

    def needs(self, call, given, produced):
        mask = produced[0]
        return [
            mask if channels.count == mask.shape[0] else some(mask)[None]
            for channels in call.inputs
        ], mask

    def alive(self, call, given, factors, h):
        width = call.node.outputs[0].channels
        given = [broadcast(vector, width) for vector in given]
        if kind(call.node.operation) in PRODUCTS:
            return [functools.reduce(times, given)]
        return [union(given, h)]

    def asked(self, call, asked, factors, h):
        return [
            asked[0] if channels.count == asked[0].shape[0] else ones(channels)
            for channels in call.inputs
        ]

    def row_macs(self, call):
        return positions(call.node.outputs[0])

    def build(self, call, builder):
        node, produced = call.node, call.produces[0]
        reading = [i for i, wanted in enumerate(call.wants) if wanted.any()]
        tensors = {i: builder.fetch(call, i) for i in reading}
        if len(reading) == 1 and len(node.inputs) > 1:
            return [self._with_constants(call, builder, tensors[reading[0]], reading[0])]
        if isinstance(node.operation, keras.layers.Layer):
            return builder.apply(call, [[tensors[i] for i in reading]])
        numbers, rank = iter(range(len(node.inputs))), len(node.outputs[0].shape)
        args, kwargs = map_operands(
            (node.args, node.kwargs),
            lambda _: tensors[next(numbers)],
            lambda array: take_channels(array, rank, rank - 1, produced),
        )
        return builder.run(call, args, kwargs)

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


def array_columns(node) -> list[np.ndarray]:
    """What each array among a merge's arguments holds by output channel; NaN where it varies."""
    count, rank = node.outputs[0].channels, len(node.outputs[0].shape)
    return [by_channel(array, rank, rank - 1, count) for array in arrays(node)]


class Concatenate(Rule):
    """Concatenation along the channels (operands side by side) or along another axis.

    An array among the operands is a constant in each channel that it holds one number in.
    """

    takes_arrays = True

    def accepts(self, call):
        output = call.node.outputs[0]
        return all(
            channels is not None and channels.is_last(value)
            for channels, value in zip(call.inputs, call.node.inputs, strict=True)
        ) and all(
            array.ndim == len(output.shape) and str(array.dtype) == output.dtype
            for array in arrays(call.node)
        )

    def constants(self, call):
        columns = self.columns(call, [channels.constants for channels in call.inputs])
        axis = len(call.node.outputs[0].shape) - 1
        if self._along_channels(call):
            return [Channels(axis, np.concatenate(columns))]
        same = np.all([column == columns[0] for column in columns], axis=0)
        return [Channels(axis, np.where(same, columns[0], np.nan))]

    def joined(self, call, value, factors):
        if not self._along_channels(call):
            return None
        return np.concatenate(
            [
                factors if part is value else np.ones(part.shape[-1] or 0)
                for part in operands(call.node)
            ]
        )

    def columns(self, call, of_inputs: list) -> list:
        """What is known of each operand's channels in order: the inputs' own, and the arrays'."""
        numbers = iter(of_inputs)
        return [
            next(numbers)
            if isinstance(operand, Value)
            else by_channel(operand, operand.ndim, operand.ndim - 1, operand.shape[-1])
            for operand in operands(call.node)
        ]

    def wants(self, call, produced):
        return [
            mask
            for mask, operand in zip(
                self.parts(call, produced[0]), operands(call.node), strict=True
            )
            if isinstance(operand, Value)
        ]

    def parts(self, call, mask) -> list:
        """The part of an output mask that each operand makes."""
        widths = [operand.shape[-1] or 0 for operand in operands(call.node)]
        if not self._along_channels(call):
            return [mask] * len(widths)
        if not isinstance(mask, np.ndarray):
            return tf.split(mask, widths)
        ends = np.cumsum(widths).tolist()
        return [mask[end - width : end] for width, end in zip(widths, ends, strict=True)]

    def produces(self, call, produced, wants):
        return [produced[0]]

    def known(self, call, given, masks):
        columns = [
            column if isinstance(column, Known) else of_array(column)
            for column in self.columns(call, given)
        ]
        zero, first = all(x.zero for x in columns), columns[0].constant
        if self._along_channels(call):
            live, constant = (concat([getattr(x, part) for x in columns]) for part in _PARTS)
            return [Known(live, constant, zero)]
        differ = [either(x.live, x.constant != first) for x in columns]
        return [settled(functools.reduce(either, differ), first, zero)]

    def needs(self, call, given, produced):
        return self.wants(call, produced), produced[0]

    def alive(self, call, given, factors, h):
        if not self._along_channels(call):
            return [union(given, h)]
        parts = [
            np.ones(len(part), "float32") if part.dtype == "float64" else part
            for part in self.columns(call, given)
        ]
        return [concat(parts)]

    def asked(self, call, asked, factors, h):
        return self.wants(call, asked)

    def row_macs(self, call):
        return 0.0

    def build(self, call, builder):
        tensors, numbers = [], iter(range(len(call.node.inputs)))
        masks = self.parts(call, call.produces[0])
        for operand, mask in zip(operands(call.node), masks, strict=True):
            if isinstance(operand, Value):
                position = next(numbers)
                tensors += [builder.fetch(call, position)] if mask.any() else []
            elif mask.any():
                tensors.append(take_channels(operand, operand.ndim, operand.ndim - 1, mask))
        if not any(isinstance(tensor, keras.KerasTensor) for tensor in tensors):
            tensors[0] = builder.as_tensor(tensors[0])
        if len(tensors) == 1 and self._along_channels(call):
            return tensors
        return builder.run(call, (tensors,), {})

    def _axis(self, call) -> int:
        return call.layer.axis % len(call.node.outputs[0].shape)

    def _along_channels(self, call) -> bool:
        return self._axis(call) == len(call.node.outputs[0].shape) - 1
