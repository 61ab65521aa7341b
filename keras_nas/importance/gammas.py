"""|γ|: how much the BatchNormalization of a channel lets through."""

from __future__ import annotations

import keras
import numpy as np

from keras_nas.errors import KerasNasError
from keras_nas.graph import Node
from keras_nas.importance.channel_paths import ChannelPaths, Step
from keras_nas.importance.criteria import register
from keras_nas.surgery.rules.normalization import BatchNormalization


@register
def gamma(model: keras.Model) -> dict[str, np.ndarray]:
    """|γ| of the BatchNormalization between a channel's kernel and its gate (network slimming).

    Where none stands there (order `"conv_gate_bn_relu"`, or a network that normalises before its
    convolutions), it is the sum of |γ| over the first BatchNormalizations that read the channel.

    Args:
        model: A gated functional model.

    Returns:
        By the gate's name, float64 `(channels,)`.

    Raises:
        KerasNasError: If some gate has no BatchNormalization with a scale on either side.

    References:
        Liu et al., Learning Efficient Convolutional Networks through Network Slimming.
    """
    paths = ChannelPaths(model)

    def scales(node: Node) -> bool:
        return isinstance(paths.plan.rules[node], BatchNormalization) and node.operation.scale

    def stop(node: Node) -> bool:
        return scales(node) or paths.has_kernel(node)

    scores = {}
    for name, gate in paths.gates.items():
        found = np.full(gate.channels, np.nan)
        for way in (paths.before, paths.behind):
            missing = np.isnan(found)
            if missing.any():
                steps = [step for step in way(name, stop) if scales(step.node)]
                found[missing] = _sums(steps, gate.channels)[missing]
        if np.isnan(found).any():
            raise KerasNasError(
                f"No BatchNormalization with a scale belongs to channel "
                f"{int(np.argmax(np.isnan(found)))} of gate '{name}': score by 'l1' or 'taylor' "
                "instead."
            )
        scores[name] = found
    return scores


def _sums(steps: list[Step], channels: int) -> np.ndarray:
    """Σ|γ| by the gate's channel over the layers met, each once; NaN where there is none."""
    total, met = np.zeros(channels), np.zeros(channels, bool)
    for step in {step.node.operation_name: step for step in steps}.values():
        values = np.abs(np.asarray(step.node.operation.gamma, "float64"))
        np.add.at(total, step.pairs.left, values[step.pairs.right])
        met[step.pairs.left] = True
    return np.where(met, total, np.nan)
