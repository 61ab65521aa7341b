"""Training with an auxiliary tower."""

from __future__ import annotations

import keras

from keras_nas.tasks import Task
from keras_nas.training.distillation import Distillation
from keras_nas.training.evaluation import Evaluator
from keras_nas.training.stage import Data
from keras_nas.training.step import global_mean
from keras_nas.training.trainer import TrainConfig, TrainStage


class AuxiliaryStage(TrainStage):
    """Trains a network on the task's loss at its output and, weighted, at an auxiliary output.

    Metrics and evaluation are the first output's.

    Args:
        name: The stage's name.
        model: The network.
        tower: The network with its tower: outputs `[the model's, the tower's]`.
        weight: Weight of the tower's loss; 0.4 in the paper (section 4.2).
        train_data, validation_data, task, config, distillation: As in `TrainStage`.
    """

    def __init__(
        self,
        name: str,
        model: keras.Model,
        tower: keras.Model,
        weight: float,
        train_data: Data,
        validation_data: Data | None,
        task: Task,
        config: TrainConfig,
        distillation: Distillation | None = None,
    ):
        super().__init__(name, tower, train_data, None, task, config, distillation)
        self.auxiliary_weight = weight
        if validation_data is not None:
            self._evaluator = Evaluator(model, task, validation_data)

    def judged(self, outputs):
        return outputs[0]

    def losses(self, targets, outputs):
        losses = super().losses(targets, outputs[0])
        auxiliary_loss = global_mean(self.task.loss(targets, outputs[1]))
        loss = losses["loss"] + self.auxiliary_weight * auxiliary_loss
        return {**losses, "loss": loss, "auxiliary_loss": auxiliary_loss}
