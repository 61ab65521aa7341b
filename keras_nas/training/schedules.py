"""How the learning rate changes while a stage runs."""

from __future__ import annotations

import keras
from keras import ops

from keras_nas.errors import UsageError
from keras_nas.training.train_config import SCHEDULES


@keras.saving.register_keras_serializable(package="keras_nas")
class EverySteps(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule that moves on once in a few steps, and may have begun before.

    Keras counts batches also where an optimizer accumulates the gradients of several for one step.

    Args:
        schedule: The schedule over the optimizer's steps.
        every: Batches for one step.
        start: The schedule's step at the first batch.
    """

    def __init__(
        self,
        schedule: keras.optimizers.schedules.LearningRateSchedule,
        every: int = 1,
        start: int = 0,
    ):
        super().__init__()
        self.schedule = schedule
        self.every = every
        self.start = start

    def __call__(self, step):
        return self.schedule(ops.floor_divide(step, self.every) + self.start)

    def get_config(self):
        schedule = keras.optimizers.schedules.serialize(self.schedule)
        return {"schedule": schedule, "every": self.every, "start": self.start}

    @classmethod
    def from_config(cls, config):
        schedule = keras.optimizers.schedules.deserialize(config["schedule"])
        return cls(schedule, config["every"], config["start"])


def learning_rate(
    kind: str,
    initial: float,
    epochs: float,
    steps_per_epoch: float,
    boundaries: tuple[float, ...] = (),
    factor: float = 0.1,
    final: float = 0.0,
    warmup_epochs: float = 0.0,
    restart_epochs: float = 10.0,
    restart_factor: float = 2.0,
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """A learning rate, or its schedule over the optimizer's steps.

    Args:
        kind: `"constant"`, `"piecewise"` (multiplied by `factor` at each boundary), `"cosine"` or
            `"linear"` (from `initial` to `final` over the epochs), or `"cosine_restarts"` (SGDR:
            from `initial` to `final` again and again, in cycles that grow).
        initial: The first learning rate (after the warm-up).
        epochs: Epochs that the schedule spans.
        steps_per_epoch: The optimizer's steps an epoch, a fraction where gradients accumulate.
        boundaries: For `"piecewise"`: rising, in epochs.
        factor: For `"piecewise"`.
        final: For `"cosine"`, `"cosine_restarts"` and `"linear"`.
        warmup_epochs: For `"cosine"`: the rate rises linearly from 0 over these epochs first.
        restart_epochs: For `"cosine_restarts"`: epochs of the first cycle, T0.
        restart_factor: For `"cosine_restarts"`: each cycle is this much longer, Tmul.

    Raises:
        UsageError: If `kind` is unknown, or `boundaries` do not rise.
    """
    schedules = keras.optimizers.schedules
    if kind == "constant":
        return initial
    if kind == "piecewise":
        if list(boundaries) != sorted(set(boundaries)):
            raise UsageError(f"`boundaries` must rise. Received: boundaries={boundaries}")
        steps = [round(boundary * steps_per_epoch) for boundary in boundaries]
        rates = [initial * factor**i for i in range(len(steps) + 1)]
        # Keras' boundary is the last step of the old rate; ours the first of the new one.
        return schedules.PiecewiseConstantDecay([step - 1 for step in steps], rates)
    if kind == "cosine":
        warmup = round(warmup_epochs * steps_per_epoch)
        decay = max(1, round(epochs * steps_per_epoch) - warmup)
        alpha = final / initial if initial else 0.0
        if warmup:
            return schedules.CosineDecay(
                0.0, decay, alpha=alpha, warmup_target=initial, warmup_steps=warmup
            )
        return schedules.CosineDecay(initial, decay, alpha=alpha)
    if kind == "cosine_restarts":
        first = max(1, round(restart_epochs * steps_per_epoch))
        alpha = final / initial if initial else 0.0
        return schedules.CosineDecayRestarts(initial, first, t_mul=restart_factor, alpha=alpha)
    if kind == "linear":
        return schedules.PolynomialDecay(initial, max(1, round(epochs * steps_per_epoch)), final)
    raise UsageError(f"`schedule` must be one of {SCHEDULES}. Received: schedule={kind!r}")
