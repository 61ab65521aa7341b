"""What changes while a stage runs: DNAL's δ, and the learning rates."""

from __future__ import annotations

import dataclasses

import keras

from keras_nas.errors import UsageError
from keras_nas.search.dnal_config import DELTA_SCHEDULES
from keras_nas.search.train_config import SCHEDULES


@dataclasses.dataclass(frozen=True)
class DeltaSchedule:
    """The scale δ of the scaled sigmoid, growing exponentially to `maximum`.

    - `every="epoch"`: δ = maximum^(e / (n − 1)) in epoch e of n, counted from 0: 1 in the first, as
      in Alg. 1, and `maximum` in the last. A single epoch has the last δ; there "step" is gentler.
    - `every="step"`: δ = maximum^(t / (T − 1)) at step t of T: 1 at the first, `maximum` at the
      last.
    - `every="authors"`: δ is multiplied by maximum^(1/n) before each of n epochs, as in the
      authors' code: 2.51 in the first of 10 epochs, 1e4 in the tenth.

    Example:

    >>> DeltaSchedule(maximum=1e4, every="epoch").value(epoch=3, step=0, epochs=5, steps=100)
    1000.0

    Args:
        maximum: The last δ; 1e4 in the paper (section III-C).
        every: `"epoch"`, `"step"` or `"authors"`.

    References:
        Guo et al., Differentiable Neural Architecture Learning for Efficient Neural Network Design,
        Alg. 1: 1 = δ_1 < … < δ_n.
    """

    maximum: float = 1e4
    every: str = "epoch"

    def __post_init__(self):
        if self.maximum < 1:
            raise UsageError(f"`delta_max` must be 1 or more. Received: delta_max={self.maximum}")
        if self.every not in DELTA_SCHEDULES:
            raise UsageError(
                f"`delta_schedule` must be one of {DELTA_SCHEDULES}. "
                f"Received: delta_schedule={self.every!r}"
            )

    def value(self, epoch: int, step: int, epochs: int, steps: int) -> float:
        """δ at a step.

        Args:
            epoch: From 0.
            step: The step within the epoch, from 0.
            epochs: Epochs of the stage.
            steps: Steps an epoch.
        """
        if self.every == "authors":
            return self.maximum ** ((epoch + 1) / epochs)
        by_step = self.every == "step"
        now, last = (epoch * steps + step, epochs * steps - 1) if by_step else (epoch, epochs - 1)
        return self.maximum ** (now / last) if last else self.maximum


def learning_rate(
    kind: str,
    initial: float,
    epochs: int,
    steps_per_epoch: int,
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
        epochs: Epochs of the stage.
        steps_per_epoch: Steps an epoch.
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
        decay = max(1, epochs * steps_per_epoch - warmup)
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
        return schedules.PolynomialDecay(initial, max(1, epochs * steps_per_epoch), final)
    raise UsageError(f"`schedule` must be one of {SCHEDULES}. Received: schedule={kind!r}")
