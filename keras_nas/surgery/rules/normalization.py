"""BatchNormalization, by its moving statistics, and Normalization by its fixed ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from keras_nas.surgery.channels import Channels
from keras_nas.surgery.rules.base import SameChannels


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
    """(x − mean) / √variance with the statistics of the data, by channel or one for all."""

    stateful = True

    def accepts(self, call):
        layer, channels = call.layer, call.inputs[0]
        if channels is None or layer.invert:
            return False
        sizes = [size for size in layer.mean.shape if size != 1]
        return sizes in ([], [channels.count]) and channels.is_last(call.node.inputs[0])

    def constants(self, call):
        mean, variance = (
            np.asarray(x, "float64").reshape(-1) for x in (call.layer.mean, call.layer.variance)
        )
        scale = np.maximum(np.sqrt(variance), 1e-7)
        return [Channels(call.input.axis, (call.input.constants - mean) / scale)]

    def build(self, call, builder):
        layer, kept = call.layer, call.wants[0]
        mean, variance = (np.asarray(x).reshape(-1) for x in (layer.mean, layer.variance))
        if len(mean) > 1:
            mean, variance = mean[kept], variance[kept]
        changes = {
            "axis": [call.input.axis] if len(mean) > 1 else None,
            "mean": mean.tolist() if len(mean) > 1 else float(mean[0]),
            "variance": variance.tolist() if len(mean) > 1 else float(variance[0]),
        }
        return builder.apply(call, [builder.fetch(call, 0)], changes, [])
