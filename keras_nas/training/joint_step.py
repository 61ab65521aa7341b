"""A training step that moves the weights and the gates at once, each by an optimizer of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import keras
import tensorflow as tf

from keras_nas.training.step import StepReport, Update, apply, once, values

Losses = Mapping[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Learned:
    """Variables and the built Keras optimizer that moves them."""

    optimizer: keras.optimizers.Optimizer
    variables: Sequence[keras.Variable]


def joint_step(
    batch: tuple[tf.Tensor, tf.Tensor],
    forward: Callable[..., tf.Tensor],
    task_losses: Callable[[tf.Tensor, tf.Tensor], Losses],
    penalty: Callable[[], tf.Tensor],
    weights: Learned,
    gates: Learned,
    metrics: Sequence[keras.metrics.Metric],
) -> StepReport:
    """One step down the task's loss and the gates' penalty. Runs inside a `tf.function`.

    Args:
        batch: Inputs and targets.
        forward: The gated network.
        task_losses: The task's losses of targets and outputs, `"loss"` their total.
        penalty: What the gates cost: a float32 scalar, the same on every replica.
        weights, gates: What moves, and by which optimizer.
        metrics: Updated with targets and outputs.

    Returns:
        The report, `"penalty"` among its losses and part of `"loss"`.
    """
    inputs, targets = batch[0], batch[1]
    moved = [*values(weights.variables), *values(gates.variables)]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(moved)
        outputs = forward(inputs, training=True)
        losses = task_losses(targets, outputs)
        cost = once(penalty())
        losses = {**losses, "loss": losses["loss"] + cost, "penalty": cost}
        scaled = weights.optimizer.scale_loss(losses["loss"])
    gradients = tape.gradient(scaled, moved, unconnected_gradients="zero")
    # With float16, each optimizer divides by the loss scale of its own.
    other_scale = gates.optimizer.scale_loss(1.0) / weights.optimizer.scale_loss(1.0)
    count = len(weights.variables)
    for_gates = [other_scale * gradient for gradient in gradients[count:]]
    updates = [
        Update(weights.optimizer, gradients[:count], weights.variables),
        Update(gates.optimizer, for_gates, gates.variables),
    ]
    for metric in metrics:
        metric.update_state(targets, outputs)
    return apply(losses, updates)
