"""The annealing of DNAL's δ."""

from __future__ import annotations

import dataclasses

from keras_nas.errors import UsageError
from keras_nas.search.dnal_config import DELTA_SCHEDULES


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
