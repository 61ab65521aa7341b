"""The pieces of a training step: the mean over the global batch, and an update that stays finite.

These run inside a `tf.function`, in a replica's context.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Update:
    """One optimizer's part of a step.

    Args:
        optimizer: A built Keras optimizer.
        gradients: One tensor a variable, of the (scaled) loss that the optimizer was given.
        variables: What it moves.
    """

    optimizer: keras.optimizers.Optimizer
    gradients: Sequence[tf.Tensor]
    variables: Sequence[keras.Variable]


@dataclasses.dataclass(frozen=True)
class StepReport:
    """What a step tells the loop.

    Args:
        losses: Scalars that add up over the replicas to the global value; `"loss"` is the total.
        bad: int32 `(len(names),)`: more than 0 where the tensor of that name was not finite on
            some replica.
        names: The checked tensors: the losses first (the total last of
            them), then the gradients.
    """

    losses: Mapping[str, tf.Tensor]
    bad: tf.Tensor
    names: tuple[str, ...]


def replicas() -> int:
    """The number of replicas that share a step."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def global_mean(per_example: tf.Tensor) -> tf.Tensor:
    """This replica's part of the mean over the global batch.

    The parts of all replicas add up to the mean, whatever each one's share of a ragged last batch.

    Args:
        per_example: float32 `(batch on this replica,)`.
    """
    count = tf.cast(tf.shape(per_example)[0], tf.float32)
    if replicas() > 1:
        context = tf.distribute.get_replica_context()
        count = context.all_reduce(tf.distribute.ReduceOp.SUM, count)
    return tf.reduce_sum(per_example) / count


def once(value: tf.Tensor) -> tf.Tensor:
    """This replica's part of a term that is the same on every replica, such as a penalty."""
    return value / replicas()


def values(variables: Sequence[keras.Variable]) -> list[tf.Variable]:
    """The TensorFlow variables behind Keras variables, for `tf.GradientTape.watch`."""
    return [variable.value for variable in variables]


def apply(losses: Mapping[str, tf.Tensor], updates: Sequence[Update]) -> StepReport:
    """Applies the updates, unless a loss or a gradient is not finite.

    In that case every gradient is taken as 0, so that the variables stay finite and the loop can
    stop and look for the cause. An optimizer with loss scaling (float16) judges its gradients
    itself: a non-finite one is its sign to lower the scale, and not an error.
    """
    checked = {name: losses[name] for name in sorted(losses, key=lambda name: name == "loss")}
    for update in updates:
        if not isinstance(update.optimizer, keras.optimizers.LossScaleOptimizer):
            for gradient, variable in zip(update.gradients, update.variables, strict=True):
                checked[f"gradient of {variable.path}"] = tf.reduce_sum(gradient)
    finite = [tf.math.is_finite(tf.cast(tensor, tf.float32)) for tensor in checked.values()]
    bad = 1 - tf.cast(tf.stack(finite), tf.int32)
    if replicas() > 1:
        context = tf.distribute.get_replica_context()
        bad = context.all_reduce(tf.distribute.ReduceOp.SUM, bad)
    good = tf.reduce_sum(bad) == 0
    for update in updates:
        _apply_one(update, good)
    return StepReport(losses, bad, tuple(checked))


def _apply_one(update: Update, good: tf.Tensor) -> None:
    gradients = update.gradients
    if not isinstance(update.optimizer, keras.optimizers.LossScaleOptimizer):
        gradients = [tf.where(good, gradient, tf.zeros_like(gradient)) for gradient in gradients]
    update.optimizer.apply_gradients(zip(gradients, update.variables, strict=True))
