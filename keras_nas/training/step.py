"""A training step: down named losses, each part of the network by an optimizer of its own.

These run inside a `tf.function`, in a replica's context.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

Losses = Mapping[str, tf.Tensor]

_halted: contextvars.ContextVar[Any] = contextvars.ContextVar("halted", default=None)


@dataclasses.dataclass(frozen=True)
class Learned:
    """Variables, the optimizer that moves them, and the loss that they move down.

    Args:
        variables: What is learned.
        optimizer: A Keras optimizer, built for them.
        loss: The loss's name.
    """

    variables: Sequence[keras.Variable]
    optimizer: keras.optimizers.Optimizer
    loss: str = "loss"


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

    losses: Losses
    bad: tf.Tensor
    names: tuple[str, ...]


def descend(
    batch: Sequence[Any],
    forward: Callable[[Any], Any],
    losses: Callable[[Any, Any], Losses],
    learned: Sequence[Learned],
    metrics: Sequence[keras.metrics.Metric] = (),
    judged: Callable[[Any], Any] = lambda outputs: outputs,
) -> StepReport:
    """One step: forward, losses, gradients, metrics, and each optimizer's update.

    Variables that go down the same loss share one backward pass; all share the forward pass. With
    float16, each optimizer gets gradients that are scaled as it expects them.

    Where a loss or a gradient is not finite, every gradient is taken as 0, so that the variables
    stay finite and the loop can stop and look for the cause. An optimizer with loss scaling
    (float16) judges its gradients itself: a non-finite one is its sign to lower the scale, and not
    an error.

    Args:
        batch: Inputs and targets; what follows them is not used.
        forward: The network: outputs of inputs.
        losses: This replica's parts of the losses, float32 scalars by name, of targets and outputs;
            see `global_mean` and `replica_share`.
        learned: What moves.
        metrics: Updated with targets and outputs.
        judged: What of the outputs the metrics are for; all by default.

    Returns:
        The losses, and which of them or of the gradients are not finite.
    """
    inputs, targets = batch[0], batch[1]
    parts_of: dict[str, list[Learned]] = {}
    for part in learned:
        parts_of.setdefault(part.loss, []).append(part)
    with tf.GradientTape(watch_accessed_variables=False, persistent=len(parts_of) > 1) as tape:
        tape.watch([variable for part in learned for variable in values(part.variables)])
        outputs = forward(inputs)
        found = losses(targets, outputs)
        scaled = {
            name: parts[0].optimizer.scale_loss(found[name]) for name, parts in parts_of.items()
        }
    gradients: dict[int, list[tf.Tensor]] = {}
    for name, parts in parts_of.items():
        gradients.update(_gradients(tape, scaled[name], parts))
    for metric in metrics:
        metric.update_state(targets, judged(outputs))
    return _apply(found, [(part, gradients[id(part)]) for part in learned])


@contextlib.contextmanager
def halted_by(flag: tf.Tensor) -> Iterator[None]:
    """Steps that are traced inside learn nothing where `flag`, a float scalar, is more than 0.

    Of the steps that are on their way to the device when one is not finite, those behind it leave
    the variables to whoever looks for the cause.
    """
    token = _halted.set(flag)
    try:
        yield
    finally:
        _halted.reset(token)


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


def replica_share(value: tf.Tensor) -> tf.Tensor:
    """This replica's part of a term that is the same on every replica, such as a penalty."""
    return value / replicas()


def with_penalty(losses: Losses, penalty: tf.Tensor) -> dict[str, tf.Tensor]:
    """The losses, with a term that is the same on every replica as `"penalty"` and in `"loss"`."""
    share = replica_share(penalty)
    return {**losses, "loss": losses["loss"] + share, "penalty": share}


def values(variables: Sequence[keras.Variable]) -> list[tf.Variable]:
    """The TensorFlow variables behind Keras variables, for `tf.GradientTape.watch`."""
    return [variable.value for variable in variables]


def _gradients(
    tape: tf.GradientTape, scaled: tf.Tensor, parts: Sequence[Learned]
) -> dict[int, list[tf.Tensor]]:
    """Each part's gradients, scaled for its optimizer, of a loss that is scaled for the first."""
    watched = [variable for part in parts for variable in values(part.variables)]
    gradients = iter(tape.gradient(scaled, watched, unconnected_gradients="zero"))
    found = {}
    for part in parts:
        own = [next(gradients) for _ in part.variables]
        if part is not parts[0]:
            factor = part.optimizer.scale_loss(1.0) / parts[0].optimizer.scale_loss(1.0)
            own = [factor * gradient for gradient in own]
        found[id(part)] = own
    return found


def _scales_loss(part: Learned) -> bool:
    return isinstance(part.optimizer, keras.optimizers.LossScaleOptimizer)


def _apply(losses: Losses, updates: Sequence[tuple[Learned, list[tf.Tensor]]]) -> StepReport:
    """Moves the variables, unless a loss or a gradient is not finite."""
    checked = {name: losses[name] for name in sorted(losses, key=lambda name: name == "loss")}
    moved = [variable for part, _ in updates for variable in part.variables]
    axes = {rank: tf.constant([*range(rank)], tf.int32) for rank in {len(v.shape) for v in moved}}
    for part, gradients in updates:
        if not _scales_loss(part):
            for gradient, variable in zip(gradients, part.variables, strict=True):
                total = tf.reduce_sum(gradient, axes[len(variable.shape)])
                checked[f"gradient of {variable.path}"] = total
    finite = tf.math.is_finite(tf.stack([tf.cast(each, tf.float32) for each in checked.values()]))
    bad = 1 - tf.cast(finite, tf.int32)
    if replicas() > 1:
        context = tf.distribute.get_replica_context()
        bad = context.all_reduce(tf.distribute.ReduceOp.SUM, bad)
    halted = _halted.get()
    learning = tf.constant(True) if halted is None else tf.equal(halted, 0)
    good = learning & (tf.reduce_sum(bad) == 0)
    zeros = {shape: tf.zeros(shape) for shape in {tuple(v.shape) for v in moved}}
    for part, gradients in updates:
        kept = learning if _scales_loss(part) else good
        gradients = [
            tf.where(kept, gradient, tf.cast(zeros[tuple(variable.shape)], gradient.dtype))
            for gradient, variable in zip(gradients, part.variables, strict=True)
        ]
        part.optimizer.apply_gradients(zip(gradients, part.variables, strict=True))
    return StepReport(losses, bad, tuple(checked))
