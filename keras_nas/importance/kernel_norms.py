"""L1 and L2: how large the kernels are that make a channel."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

from keras_nas.errors import KerasNasError
from keras_nas.graph import Node
from keras_nas.importance.channel_paths import ChannelPaths, Step
from keras_nas.importance.criteria import register
from keras_nas.surgery.rules.convolution import DenseLike, GroupedConvolution

Norm = Callable[[np.ndarray], np.ndarray]
"""From `(values, channels)` to one number a channel."""


@register
def l1(model: keras.Model, consumers: bool = False) -> dict[str, np.ndarray]:
    """The sum of |w| over the filter that makes a channel (Li et al., 2017).

    The filter is that of the convolution, depthwise convolution or Dense layer behind which the
    gate stands; a gate behind a join has the sum over the filters that meet there.

    Args:
        model: A gated functional model.
        consumers: Adds, for every layer that reads the channel, Σ|w| of the slice that reads it.

    Returns:
        By the gate's name, float64 `(channels,)`.

    Raises:
        KerasNasError: If no kernel makes the channels of some gate.

    References:
        Li et al., Pruning Filters for Efficient ConvNets.
    """
    return _norms(model, lambda values: np.abs(values).sum(axis=0), consumers)


@register
def l2(model: keras.Model, consumers: bool = False) -> dict[str, np.ndarray]:
    """√Σw² over the filter that makes a channel; else as `l1`."""
    return _norms(model, lambda values: np.sqrt(np.square(values).sum(axis=0)), consumers)


def _norms(model: keras.Model, norm: Norm, consumers: bool) -> dict[str, np.ndarray]:
    paths = ChannelPaths(model)
    scores = {}
    for name, gate in paths.gates.items():
        found = np.zeros(gate.channels)
        made = np.zeros(gate.channels, bool)
        for step in _kernels(paths, paths.before(name, paths.has_kernel)):
            by_output = norm(_by_output(paths, step.node))
            np.add.at(found, step.pairs.left, by_output[step.pairs.right])
            made[step.pairs.left] = True
        if not made.all():
            raise KerasNasError(
                f"No kernel makes channel {int(np.argmin(made))} of gate '{name}' (what stands "
                "before it is unknown to surgery, or an input): score by 'taylor' instead."
            )
        if consumers:
            for step in _kernels(paths, paths.behind(name, paths.has_kernel)):
                by_input = norm(_by_input(paths, step.node))
                np.add.at(found, step.pairs.left, by_input[step.pairs.right])
        scores[name] = found
    return scores


def _kernels(paths: ChannelPaths, steps) -> list[Step]:
    """The steps with a kernel; a shared layer that is met in the same way twice counts once."""
    found: dict[tuple, Step] = {}
    for step in steps:
        if paths.has_kernel(step.node):
            pairs = step.pairs.left.tobytes(), step.pairs.right.tobytes()
            found.setdefault((step.node.operation_name, *pairs), step)
    return list(found.values())


def _by_output(paths: ChannelPaths, node: Node) -> np.ndarray:
    """The kernel's values by output channel: float64 `(values, outputs)`."""
    rule, layer = paths.plan.rules[node], node.operation
    if isinstance(rule, DenseLike):
        kernel = rule.kernel(layer).astype("float64")
        return kernel.reshape(-1, kernel.shape[-1])
    return _depthwise(layer).reshape(-1, layer.kernel.shape[-2] * layer.depth_multiplier)


def _by_input(paths: ChannelPaths, node: Node) -> np.ndarray:
    """The kernel's values by input channel: float64 `(values, inputs)`."""
    rule, layer = paths.plan.rules[node], node.operation
    inputs = paths.plan.calls[node].input.count
    if not isinstance(rule, DenseLike):
        return np.moveaxis(_depthwise(layer), -2, -1).reshape(-1, inputs)
    kernel = rule.kernel(layer).astype("float64")
    if isinstance(rule, GroupedConvolution):
        kernel = kernel.reshape(*kernel.shape[:-1], layer.groups, -1)
        return np.moveaxis(kernel, (-2, -3), (-2, -1)).reshape(-1, inputs)
    if kernel.shape[-2] != inputs:
        kernel = kernel.reshape(*kernel.shape[:-2], inputs, -1)
    return np.moveaxis(kernel, -2, -1).reshape(-1, inputs)


def _depthwise(layer) -> np.ndarray:
    return np.asarray(layer.kernel, "float64")
