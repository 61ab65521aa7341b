"""BatchNormalization, by its moving statistics, and Normalization by its fixed ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import tensorflow as tf

from keras_nas.surgery.channels import Channels
from keras_nas.surgery.rules.base import SameChannels
from keras_nas.surgery.rules.known_values import either, settled


class BatchNormalization(SameChannels):
    """γ (x − μ) / √(σ² + ε) + β with moving μ and σ: affine a channel."""

    stateful = True

    def accepts(self, call):
        rank = len(call.node.inputs[0].shape)
        axis = call.layer.axis
        axis = axis[0] if isinstance(axis, (list, tuple)) else axis
        return (
            super().accepts(call)
            and axis % rank == call.input.axis
            and not call.node.kwargs.get("training")
        )

    def takes_factors(self, call, binary):
        return True

    def constants(self, call):
        layer = call.layer
        scale = 1.0 / np.sqrt(np.asarray(layer.moving_variance, "float64") + layer.epsilon)
        if layer.scale:
            scale = scale * np.asarray(layer.gamma)
        shift = -np.asarray(layer.moving_mean, "float64") * scale
        if layer.center:
            shift = shift + np.asarray(layer.beta)
        constants = call.input.constants * scale + shift
        if call.factor is not None:
            constants = constants * call.factor
            constants[call.factor == 0] = 0.0
        return [Channels(call.input.axis, constants)]

    def known(self, call, given, masks):
        layer, x = call.layer, given[0]
        if x.always_live:
            return given
        scale = tf.math.rsqrt(tf.cast(layer.moving_variance, tf.float32) + layer.epsilon)
        if layer.scale:
            scale *= tf.cast(layer.gamma, tf.float32)
        shift = tf.cast(layer.moving_mean, tf.float32) * scale
        shift = tf.cast(layer.beta, tf.float32) - shift if layer.center else -shift
        return [settled(x.live, shift if x.zero else x.constant * scale + shift)]

    def costs(self, call, input_shapes, output_shapes):
        costs = super().costs(call, input_shapes, output_shapes)
        if self._use_gamma(call) and not call.layer.scale:
            costs = replace(costs, params=costs.params + int(call.wants[0].sum()))
        return costs

    def _use_gamma(self, call) -> bool:
        """Whether the rebuilt layer scales: a factor that is not 1 needs a γ to live in."""
        factor = call.factor
        return call.layer.scale or (factor is not None and bool(np.any(factor[call.wants[0]] != 1)))

    def build(self, call, builder):
        layer, kept = call.layer, call.wants[0]
        factor = (np.ones(call.input.count) if call.factor is None else call.factor)[kept]
        use_gamma = self._use_gamma(call)
        gamma = np.asarray(layer.gamma)[kept] if layer.scale else 1.0
        weights = [gamma * factor] if use_gamma else []
        if layer.center:
            weights.append(np.asarray(layer.beta)[kept] * factor)
        weights += [np.asarray(layer.moving_mean)[kept], np.asarray(layer.moving_variance)[kept]]
        return builder.apply(call, [builder.fetch(call, 0)], {"scale": use_gamma}, weights)


class Normalization(SameChannels):
    """(x − mean) / √variance, or its inverse, with the statistics of the data.

    They may differ by channel, by position, or by neither; a channel whose statistics differ by
    position is live even where its input is constant.
    """

    stateful = True

    def constants(self, call):
        scale, shift = self.affine(call)
        results = call.input.constants[:, None] * scale + shift
        same = np.all(results == results[:, :1], axis=1)
        return [Channels(call.input.axis, np.where(same, results[:, 0], np.nan))]

    def known(self, call, given, masks):
        x = given[0]
        scale, shift = (tf.constant(values, tf.float32) for values in self.affine(call))
        results = x.constant[:, None] * scale + shift
        differ = tf.reduce_any(results != results[:, :1], axis=1)
        return [settled(either(x.live, differ), results[:, 0])]

    def affine(self, call) -> tuple[np.ndarray, np.ndarray]:
        """What it multiplies and then adds, float64, each `(channels, positions)`."""
        mean, variance = (
            self._by_channel(call, values) for values in (call.layer.mean, call.layer.variance)
        )
        deviation = np.maximum(np.sqrt(variance), 1e-7)
        return (deviation, mean) if call.layer.invert else (1 / deviation, -mean / deviation)

    def build(self, call, builder):
        layer = call.layer
        mean, variance = self._kept(call, layer.mean), self._kept(call, layer.variance)
        tensor = builder.fetch(call, 0)
        if layer.input_mean is not None:
            changes = {"mean": mean.tolist(), "variance": variance.tolist()}
            changes["axis"] = self._axes(call)
            return builder.apply(call, [tensor], changes, [])
        weights = [mean, variance, np.asarray(layer.count)]
        return builder.apply(call, [tensor], {"axis": self._axes(call)}, weights)

    @staticmethod
    def _axes(call) -> list[int] | None:
        return list(call.layer._keep_axis) or None

    @staticmethod
    def _kept(call, values) -> np.ndarray:
        """The statistics of the kept channels, of the axes that they differ on."""
        values, axes = np.asarray(values), call.layer._keep_axis
        if call.input.axis in axes:
            values = np.compress(call.wants[0], values, call.input.axis)
        return values.reshape([values.shape[axis] for axis in axes])

    @staticmethod
    def _by_channel(call, values) -> np.ndarray:
        """The statistics as float64 `(channels, positions)`."""
        values = np.moveaxis(np.asarray(values, "float64"), call.input.axis, 0)
        values = values.reshape(len(values), -1)
        return np.broadcast_to(values, (call.input.count, values.shape[1]))
