"""The first learning rate: the largest by which a trained network does not forget what it knows."""

from __future__ import annotations

import dataclasses

import keras

from keras_nas.tasks import Task
from keras_nas.training.divergence import DivergedError
from keras_nas.training.session import Session
from keras_nas.training.stage import Data, epoch_of
from keras_nas.training.train_config import TrainConfig
from keras_nas.training.trainer import train

STEPS = 16
"""Steps that are taken at each rate."""
SHARES = (1.0, 0.3, 0.1, 0.03)
"""What is tried, of the recipe's rate; the last is taken unseen."""
KEEPS = 0.75
"""The share of what a network is worth, above a constant, that it has to keep in these steps."""


@dataclasses.dataclass(frozen=True)
class Rate:
    """A learning rate that was tried out.

    Attributes:
        value: It.
        lost: The metric that training had at the larger rates, by the rate; none were refused where
            it is empty.
        unmoved: The metric in training of a network that does not move, where that is no better
            than a constant, so that no rate can be told from it.
    """

    value: float
    lost: dict[float, float] = dataclasses.field(default_factory=dict)
    unmoved: float | None = None

    def reason(self, metric: str) -> str:
        """What was found, for the console; empty where the first rate was right."""
        if self.unmoved is not None:
            return (
                f"Learning rate: {self.value:g} without trial, since in training {metric} is "
                f"{self.unmoved:.2g} before the network moves: its BatchNormalizations' statistics "
                "are not those of these data."
            )
        if not self.lost:
            return ""
        tried = ", ".join(f"{value:.2g} from {rate:g}" for rate, value in self.lost.items())
        return (
            f"Learning rate: {self.value:g}, since the network forgets what it knows from larger "
            f"ones ({metric} in the first {STEPS} steps: {tried})."
        )


def find_rate(
    copy: keras.Model,
    train_data: Data,
    task: Task,
    training: TrainConfig,
    worth: float,
    nothing: float,
) -> Rate:
    """Trains for a few steps at falling rates, until the network stays about what it is.

    What it is in training counts, where its BatchNormalizations go by the batch, if that is less
    than it is worth.

    Args:
        copy: The network, which is spoilt.
        train_data, task: What it will be trained on.
        training: How; its `learning_rate` is the largest that is tried.
        worth: What the network is worth before, by the task's metric.
        nothing: What a constant output is worth.
    """
    weights = [keras.ops.convert_to_numpy(variable) for variable in copy.variables]
    steady = dataclasses.replace(
        training, epochs=1, schedule="constant", schedule_epochs=0.0, schedule_start=0.0
    )
    batches = epoch_of(train_data, 0).take(STEPS)

    def reached_by(rate: float) -> float:
        config = dataclasses.replace(steady, learning_rate=rate)
        reached = _reached(copy, batches, task, config)
        for variable, value in zip(copy.variables, weights, strict=True):
            variable.assign(value)
        return reached

    lost: dict[float, float] = {}
    for share in SHARES[:-1]:
        rate = share * training.learning_rate
        reached = reached_by(rate)
        if not lost and reached < nothing + KEEPS * (worth - nothing):
            unmoved = reached_by(0.0)
            if unmoved <= nothing:
                return Rate(rate, unmoved=unmoved)
            worth = min(worth, unmoved)
        if reached >= nothing + KEEPS * (worth - nothing):
            return Rate(rate, lost)
        lost[rate] = reached
    return Rate(SHARES[-1] * training.learning_rate, lost)


def _reached(copy: keras.Model, batches: Data, task: Task, config: TrainConfig) -> float:
    """The metric over an epoch; below any where the training diverges."""
    quiet = Session(progress="off")
    try:
        (record,) = train(copy, batches, None, config, task=task, session=quiet, name="rate")
    except DivergedError:
        return float("-inf")
    return record[task.monitor]
