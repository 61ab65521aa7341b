"""How long training a network takes, from its first steps, and how many epochs a limit allows."""

from __future__ import annotations

import dataclasses
import math

import keras

from keras_nas.compression.recipe import split_epochs
from keras_nas.errors import UsageError
from keras_nas.importance.branches import JUDGED_ON
from keras_nas.tasks import Task
from keras_nas.training.session import Session
from keras_nas.training.stage import Data, epoch_of, steps_of
from keras_nas.training.train_config import TrainConfig
from keras_nas.training.trainer import train

STEPS = 4
"""Steps that are timed, after as many that trace and warm up."""
SEARCH_STEP = 1.15
"""A step of the search over a plain one; benchmarks/search_overhead measures it."""
FORWARD = 1 / 3
"""A forward pass over a whole step."""
NO_GAIN = 0.35
"""The share of a step that does not shrink with a network's macs."""
MOST_EPOCHS = 30
"""More are not taken, however long one may wait."""


@dataclasses.dataclass(frozen=True)
class Pace:
    """How long a network's training takes on this machine.

    Attributes:
        tracing: Seconds until the first step runs.
        step: Seconds of a step.
        steps: Steps an epoch.
        held_out_steps: Batches that are evaluated after each.
    """

    tracing: float
    step: float
    steps: int
    held_out_steps: int

    def search_seconds(self, epochs: int) -> float:
        """Of the search: gates and weights learned together."""
        return 2 * self.tracing + epochs * (SEARCH_STEP * self.steps * self.step + self._look())

    def finetune_seconds(self, epochs: int, share: float, taught: bool) -> float:
        """Of the finetuning.

        Args:
            epochs: How many.
            share: The small network's macs over the full one's.
            taught: Whether the full network runs beside it.
        """
        step = self.step * (NO_GAIN + (1 - NO_GAIN) * share + FORWARD * taught)
        return self.tracing * (1 + taught / 2) + epochs * (self.steps * step + self._look())

    def judging_seconds(self, branches: int, there: int) -> float:
        """Of finding the branches that are missed least.

        Args:
            branches: How many are to go.
            there: How many might.
        """
        batches = JUDGED_ON * sum(there - gone for gone in range(branches))
        return self.tracing + FORWARD * self.step * batches if branches else 0.0

    def seconds(self, epochs: int, share: float, taught: bool) -> float:
        """Of both, with these epochs in all."""
        search, finetune = split_epochs(epochs)
        return self.search_seconds(search) + self.finetune_seconds(finetune, share, taught)

    def epochs_within(self, limit: float, besides: float, share: float, taught: bool) -> int:
        """The most epochs, 2 to `MOST_EPOCHS`, with which all takes no longer.

        Args:
            limit: Seconds that all may take.
            besides: What of it is spent, or kept for anything but training.
            share, taught: As in `finetune_seconds`.

        Raises:
            UsageError: Two take longer.
        """
        fitting = [
            epochs
            for epochs in range(2, MOST_EPOCHS + 1)
            if besides + self.seconds(epochs, share, taught) <= limit
        ]
        if not fitting:
            needed = self.seconds(2, share, taught)
            raise UsageError(
                f"`minutes` must be {_tenths(needed + besides)} or more: {_tenths(needed)} for two "
                f"epochs of {self.steps:,} steps, {self.step:.2g} s each, and {_tenths(besides)} "
                f"for evaluations, files and what is done. Received: {limit / 60:g}; "
                "fewer training pictures (`train_examples`; in super-resolution fewer "
                "`steps_per_epoch`) and fewer test pictures take less"
            )
        return fitting[-1]

    def _look(self) -> float:
        return FORWARD * self.step * self.held_out_steps


def measure_pace(
    copy: keras.Model, train_data: Data, validation_data: Data | None, task: Task
) -> Pace:
    """Trains for a few steps on one batch, and times them.

    Args:
        copy: The network, which is spoilt.
        train_data, validation_data: What it will be trained and looked at with.
        task: Loss and metrics.
    """
    steps = steps_of(epoch_of(train_data, 0))
    held_out = 0 if validation_data is None else steps_of(epoch_of(validation_data, 0))
    batches = epoch_of(train_data, 0).take(1).cache().repeat(STEPS)
    config = TrainConfig(epochs=2, learning_rate=1e-6)
    first, second = train(
        copy, batches, None, config, task=task, session=Session(progress="off"), name="pace"
    )
    tracing = max(0.0, first["seconds"] - second["seconds"])
    return Pace(tracing, second["seconds"] / STEPS, steps, held_out)


def _tenths(seconds: float) -> str:
    """Minutes, rounded up."""
    return f"{math.ceil(seconds / 6) / 10:g}"
