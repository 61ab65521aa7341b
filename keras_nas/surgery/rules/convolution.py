"""Convolutions and Dense: layers whose every output channel reads every input channel."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from keras_nas.costs.layer_costs import layer_costs
from keras_nas.surgery.channels import all_live
from keras_nas.surgery.rules.base import Rule, positions
from keras_nas.surgery.rules.constant_folding import activated, apply_activation, own_activation
from keras_nas.surgery.rules.known_values import (
    Known,
    Mask,
    both,
    either,
    is_filled,
    settled,
    some,
)


class DenseLike(Rule):
    """Base of the layers with a kernel of inputs × outputs, a bias, and perhaps an activation.

    Worked example: a 1×1 convolution with kernel [[2], [3]] on channels (live, constant 5) and bias
    1 is a 1×1 convolution with kernel [[2]] on the live channel and bias 1 + 3·5 = 16.
    """

    stateful = True
    reads_all_inputs = True
    scales_inputs = True
    folds_into_bias = True
    """Whether a constant may ever go into the bias."""

    def accepts(self, call):
        return call.channels_are_last

    def takes_factors(self, call, binary):
        return own_activation(call).lets_through(binary)

    def kernel(self, layer: Any) -> np.ndarray:
        """The kernel as (..., inputs of a group, outputs)."""
        return np.asarray(layer.kernel)

    def _scaled_kernel(self, call) -> np.ndarray:
        """The kernel with the factors of a gate before the layer baked in."""
        kernel = self.kernel(call.layer)
        return kernel if call.input_factor is None else kernel * call.input_factor[:, None]

    def kernel_weights(self, kernel: np.ndarray) -> list[np.ndarray]:
        """The layer's own weights for a kernel of the form of `kernel`."""
        return [kernel]

    def folds_any_constant(self, call) -> bool:
        """Whether a constant other than 0 adds the same to the output at every position."""
        return True

    def mixes(self, call) -> bool:
        """Whether the layer's own activation reads several channels at once (softmax)."""
        return not own_activation(call).elementwise

    def folded(self, call) -> np.ndarray:
        """Which input channels are constants that vanish into the bias: bool, one a channel."""
        known = ~call.input.live
        return known if self.folds_any_constant(call) else known & (call.input.constants == 0)

    def constants(self, call):
        output = all_live(call.node.outputs[0])
        if output is not None and not self.mixes(call):
            if self.folded(call).all():
                output.constants = apply_activation(call, self._bias(call))
            if call.factor is not None:
                output.constants = output.constants * call.factor
                output.constants[call.factor == 0] = 0.0
        return [output]

    def wants(self, call, produced):
        if not produced[0].any():
            return [np.zeros(call.input.count, bool)]
        read = ~self.folded(call)
        read[0] |= not read.any()  # an activation that mixes channels runs, and needs a tensor
        return [read]

    def produces(self, call, produced, wants):
        return [np.ones_like(produced[0])] if self.mixes(call) else [produced[0]]

    def takes_more(self, call, held):
        return True

    def known(self, call, given, masks):
        if self.mixes(call):
            return None
        layer, x, live = call.layer, given[0], self._live(call, given[0])
        adds = not x.zero and self.folds_any_constant(call)
        zero = not adds and not layer.use_bias and own_activation(call).keeps_zero
        if zero or is_filled(live, True):
            return [settled(live, None, True)]
        width = call.outputs[0].count
        bias = tf.cast(layer.bias, tf.float32) if layer.use_bias else tf.zeros(width)
        if adds:
            bias += self._constant_sum(call, tf.where(x.live, 0.0, x.constant))
        return [settled(live, activated(call, bias))]

    def _staying(self, call, x: Known) -> tuple[Mask, Mask]:
        """The inverse of `folded` in TensorFlow, and whether there is one."""
        if x.zero or self.folds_any_constant(call):
            return x.live, x.any_live
        return x.nonzero, x.any_nonzero

    def _live(self, call, x: Known) -> Mask:
        _, any_stays = self._staying(call, x)
        width = call.outputs[0].count
        if is_filled(any_stays, True):
            return np.ones(width, bool)
        return tf.fill([width], any_stays)

    def _constant_sum(self, call, values: tf.Tensor) -> tf.Tensor:
        """What constant inputs add to the bias: `(outputs,)`."""
        return tf.linalg.matvec(_window_sums(call.layer), values, transpose_a=True)

    def needs(self, call, given, produced):
        mask = produced[0]
        reads, any_read = self._staying(call, given[0])
        first = np.arange(reads.shape[0]) == 0
        written = np.ones(mask.shape[0], bool) if self.mixes(call) else mask
        return [either(reads, both(first, ~any_read))], written

    def gains_bias(self, call, given, reads):
        if given[0].zero or call.layer.use_bias or not self.folds_into_bias:
            return np.False_
        return some(both(~reads[0], given[0].constant != 0))

    def row_macs(self, call):
        reads = int((~self.folded(call)).sum())
        return self.column_macs(call) * reads if reads else float("inf")

    def column_macs(self, call):
        window = np.prod(call.layer.kernel.shape[:-2])
        return float(positions(call.node.outputs[0]) * window)

    def kernel_kind(self, call):
        if np.prod(call.layer.kernel.shape[:-2]) > 1:
            return "conv"
        return "pointwise" if positions(call.node.outputs[0]) > 1 else "dense"

    def costs(self, call, input_shapes, output_shapes):
        use_bias = call.layer.use_bias or bool(np.any(self._new_bias(call)))
        return layer_costs(call.layer, input_shapes, output_shapes, use_bias=use_bias)

    def _new_bias(self, call) -> np.ndarray:
        outputs = call.produces[0]
        bias = self._bias(call, ~call.wants[0])[outputs]
        return bias if call.factor is None else bias * call.factor[outputs]

    def build(self, call, builder):
        kept, outputs = call.wants[0], call.produces[0]
        kernel = self._scaled_kernel(call)[..., kept, :][..., outputs]
        bias = self._new_bias(call)
        if call.factor is not None:
            kernel = kernel * call.factor[outputs]
        use_bias = call.layer.use_bias or bool(np.any(bias))
        weights = self.kernel_weights(kernel) + ([bias] if use_bias else [])
        changes = {"use_bias": use_bias, **self.width_change(int(outputs.sum()))}
        return builder.apply(call, [builder.fetch(call, 0)], changes, weights)

    def width_change(self, width: int) -> dict[str, int]:
        """The configuration entry that sets the number of output channels."""
        return {"filters": width}

    def _bias(self, call, folded: np.ndarray | None = None) -> np.ndarray:
        """The bias plus what the constants of the `folded` input channels add to it."""
        folded = self.folded(call) if folded is None else folded
        kernel = self._scaled_kernel(call)
        bias = np.zeros(kernel.shape[-1])
        if call.layer.use_bias:
            bias = bias + np.asarray(call.layer.bias, "float64")
        values = np.where(folded, np.nan_to_num(call.input.constants), 0.0)
        if np.any(values):
            window = tuple(range(kernel.ndim - 2))
            bias = bias + values @ kernel.astype("float64").sum(axis=window)
        return bias


class Convolution(DenseLike):
    """Conv1D, Conv2D, Conv3D without groups."""

    def accepts(self, call):
        return super().accepts(call) and call.layer.groups == 1

    def folds_any_constant(self, call):
        return not pads(call.layer, call.node.inputs[0].shape)


class Dense(DenseLike):
    """Dense, on the last axis of a tensor of any rank."""

    def width_change(self, width):
        return {"units": width}


class TransposedConvolution(DenseLike):
    """Conv1DTranspose, Conv2DTranspose, Conv3DTranspose: only zeros fold (windows overlap)."""

    def kernel(self, layer):
        return np.swapaxes(np.asarray(layer.kernel), -1, -2)

    def kernel_weights(self, kernel):
        return [np.swapaxes(kernel, -1, -2)]

    def folds_any_constant(self, call):
        return False

    def column_macs(self, call):
        window = np.prod(call.layer.kernel.shape[:-2])
        return float(positions(call.node.inputs[0]) * window)


class SeparableConvolution(DenseLike):
    """SeparableConv1D, SeparableConv2D: depthwise, then pointwise, with nothing in between."""

    scales_inputs = False
    folds_into_bias = False

    def kernel(self, layer):
        """The pointwise kernel, with the depth multiples of one input channel side by side."""
        return np.asarray(layer.pointwise_kernel)

    def folds_any_constant(self, call):
        return False

    def column_macs(self, call):
        return float(positions(call.node.outputs[0]) * call.layer.depth_multiplier)

    def kernel_kind(self, call):
        return "pointwise"

    def build(self, call, builder):
        layer = call.layer
        kept, outputs = call.wants[0], call.produces[0]
        multiples = np.repeat(kept, layer.depth_multiplier)
        pointwise = np.asarray(layer.pointwise_kernel)[..., multiples, :][..., outputs]
        if call.factor is not None:
            pointwise = pointwise * call.factor[outputs]
        depthwise = np.asarray(layer.depthwise_kernel)[..., kept, :]
        weights = [depthwise, pointwise] + ([self._new_bias(call)] if layer.use_bias else [])
        changes = self.width_change(int(outputs.sum()))
        return builder.apply(call, [builder.fetch(call, 0)], changes, weights)

    def _bias(self, call, folded=None):
        bias = np.zeros(call.layer.filters)
        return bias + np.asarray(call.layer.bias) if call.layer.use_bias else bias


class GroupedConvolution(Convolution):
    """Conv2D (1D, 3D) with groups: whole groups go; those that stay keep equally many channels.

    A group's outputs read its own inputs only. Keras wants equal groups, so every kept group keeps
    as many inputs (outputs) as the one that needs most; the fillers are channels that exist in the
    original, in ascending order, and the surplus ones are computed for nobody.
    """

    scales_inputs = False

    def accepts(self, call):
        return DenseLike.accepts(self, call) and call.layer.groups > 1

    def constants(self, call):
        layer = call.layer
        output = all_live(call.node.outputs[0])
        if output is None or self.mixes(call):
            return [output]
        dead = _by_group(self.folded(call), layer.groups).all(axis=1)
        bias = np.where(np.repeat(dead, layer.filters // layer.groups), self._bias(call), np.nan)
        output.constants = apply_activation(call, bias)
        if call.factor is not None:
            output.constants = output.constants * call.factor
            output.constants[call.factor == 0] = 0.0
        return [output]

    def wants(self, call, produced):
        groups = call.layer.groups
        alive = _by_group(self.produces(call, produced, [])[0], groups).any(axis=1)
        need = _by_group(~self.folded(call), groups) & alive[:, None]
        return [_level(need, alive).reshape(-1)]

    def produces(self, call, produced, wants):
        if self.mixes(call):
            return [np.ones_like(produced[0])]
        need = _by_group(produced[0], call.layer.groups)
        return [_level(need, need.any(axis=1)).reshape(-1)]

    def takes_more(self, call, held):
        groups = call.layer.groups
        alive = _by_group(call.produces[0], groups).any(axis=1)
        return len({*_by_group(held, groups).sum(axis=1)[alive].tolist()}) == 1 and not (
            _by_group(held, groups)[~alive].any()
        )

    def known(self, call, given, masks):
        return DenseLike.known(self, call, given, masks)

    def _live(self, call, x):
        reads, _ = self._staying(call, x)
        if is_filled(reads, True):
            return np.ones(call.outputs[0].count, bool)
        alive = tf.reduce_any(_by_group(reads, call.layer.groups), axis=1)
        return tf.repeat(alive, call.outputs[0].count // call.layer.groups)

    def _constant_sum(self, call, values):
        groups, sums = call.layer.groups, _window_sums(call.layer)
        sums = tf.reshape(sums, [sums.shape[0], groups, -1])
        return tf.reshape(tf.einsum("gi,igo->go", _by_group(values, groups), sums), [-1])

    def needs(self, call, given, produced):
        groups, mask = call.layer.groups, produced[0]
        need = _by_group(tf.ones_like(mask) if self.mixes(call) else mask, groups)
        alive = tf.reduce_any(need, axis=1)
        reads = _by_group(self._staying(call, given[0])[0], groups) & alive[:, None]
        reads, written = (tf.reshape(_filled(part, alive), [-1]) for part in (reads, need))
        return [reads], written

    def groups_left(self, call, written):
        left = tf.reduce_any(_by_group(written, call.layer.groups), axis=1)
        return tf.maximum(tf.reduce_sum(tf.cast(left, tf.float64)), 1.0)

    def row_macs(self, call):
        return float("inf")

    def column_macs(self, call):
        return float("inf")

    def sized(self, call):
        groups = int(_by_group(call.produces[0], call.layer.groups).any(axis=1).sum())
        if groups == call.layer.groups:
            return call.layer
        changes = {"filters": int(call.produces[0].sum()), "groups": groups}
        return type(call.layer).from_config({**call.layer.get_config(), **changes})

    def costs(self, call, input_shapes, output_shapes):
        groups = int(_by_group(call.produces[0], call.layer.groups).any(axis=1).sum())
        use_bias = call.layer.use_bias or bool(np.any(self._new_bias(call)))
        return layer_costs(
            call.layer, input_shapes, output_shapes, groups=groups, use_bias=use_bias
        )

    def build(self, call, builder):
        layer = call.layer
        outputs = _by_group(call.produces[0], layer.groups)
        inputs = _by_group(call.wants[0], layer.groups)
        kernel = np.asarray(layer.kernel)
        kernel = np.moveaxis(kernel.reshape(*kernel.shape[:-1], layer.groups, -1), -2, 0)
        parts = [
            kernel[group][..., inputs[group], :][..., outputs[group]]
            for group in np.flatnonzero(outputs.any(axis=1))
        ]
        kernel, bias = np.concatenate(parts, axis=-1), self._new_bias(call)
        if call.factor is not None:
            kernel = kernel * call.factor[call.produces[0]]
        use_bias = layer.use_bias or bool(np.any(bias))
        changes = {"filters": kernel.shape[-1], "groups": len(parts), "use_bias": use_bias}
        weights = [kernel] + ([bias] if use_bias else [])
        return builder.apply(call, [builder.fetch(call, 0)], changes, weights)

    def _bias(self, call, folded=None):
        layer = call.layer
        folded = self.folded(call) if folded is None else folded
        kernel = np.asarray(layer.kernel, "float64")
        sums = kernel.sum(axis=tuple(range(kernel.ndim - 2)))
        sums = sums.reshape(len(sums), layer.groups, -1)
        values = np.where(folded, np.nan_to_num(call.input.constants), 0.0)
        added = np.einsum("gi,igo->go", _by_group(values, layer.groups), sums).reshape(-1)
        return added + np.asarray(layer.bias) if layer.use_bias else added


def _window_sums(layer: Any) -> tf.Tensor:
    """The kernel summed over its window: float32 `(inputs of a group, outputs)`."""
    kernel = tf.cast(layer.kernel, tf.float32)
    return tf.reduce_sum(kernel, axis=list(range(len(kernel.shape) - 2)))


def _by_group(mask, groups: int):
    if isinstance(mask, np.ndarray):
        return mask.reshape(groups, -1)
    return tf.reshape(mask, [groups, -1])


def _level(need: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """Fills the alive rows (groups) of `need` up to equally many true entries, at least one."""
    level = need.copy()
    width = max(int(need.sum(axis=1).max(initial=0)), 1)
    for row in np.flatnonzero(alive):
        spare = np.flatnonzero(~level[row])
        level[row, spare[: width - int(level[row].sum())]] = True
    return level


def _filled(need: tf.Tensor, alive: tf.Tensor) -> tf.Tensor:
    """`_level` in TensorFlow."""
    counts = tf.reduce_sum(tf.cast(need, tf.int32), axis=1)
    lacking = tf.maximum(tf.reduce_max(counts), 1) - counts
    place = tf.cumsum(tf.cast(~need, tf.int32), axis=1)
    return (need | (place <= lacking[:, None])) & alive[:, None]


def pads(layer: Any, shape: tuple[int | None, ...]) -> bool:
    """Whether a convolution or pooling of a tensor of `shape` reads beyond its border."""
    sizes = layer.kernel_size if hasattr(layer, "kernel_size") else layer.pool_size
    if layer.padding == "valid" or all(size == 1 for size in sizes):
        return False
    if layer.padding != "same":
        return True
    dilations = getattr(layer, "dilation_rate", (1,) * len(sizes))
    return any(
        length is None or (-(-length // stride) - 1) * stride + (size - 1) * dilation + 1 > length
        for length, size, stride, dilation in zip(
            shape[1:-1], sizes, layer.strides, dilations, strict=True
        )
    )
