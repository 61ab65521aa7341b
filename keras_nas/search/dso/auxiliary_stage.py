"""Training with an auxiliary tower."""

from __future__ import annotations

import dataclasses

import keras
import tensorflow as tf

from keras_nas.tasks import Task
from keras_nas.training.evaluation import Evaluator
from keras_nas.training.stage import Data
from keras_nas.training.step import Update, apply, global_mean, values
from keras_nas.training.trainer import TrainConfig, TrainStage


class AuxiliaryStage(TrainStage):
    """Trains a network on the task's loss at its output and, weighted, at an auxiliary output.

    Metrics and evaluation are the first output's.

    Args:
        name: The stage's name.
        model: The network.
        tower: The network with its tower: outputs `[the model's, the tower's]`.
        weight: Weight of the tower's loss; 0.4 in the paper (section 4.2).
        train_data, validation_data, task, config: As in `TrainStage`.
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
    ):
        super().__init__(name, tower, train_data, None, task, config)
        self.auxiliary_weight = weight
        if validation_data is not None:
            self._evaluator = Evaluator(model, task, validation_data)

    def train_step(self, batch):
        inputs, targets = batch[0], batch[1]
        weights = values(self.weights)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            outputs, auxiliary = self.model(inputs, training=True)
            losses = self.losses(targets, outputs)
            auxiliary_loss = global_mean(self.task.loss(targets, auxiliary))
            losses["loss"] += self.auxiliary_weight * auxiliary_loss
            scaled = self.optimizer.scale_loss(losses["loss"])
        gradients = tape.gradient(scaled, weights, unconnected_gradients="zero")
        for metric in self.metrics:
            metric.update_state(targets, outputs)
        report = apply(losses, [Update(self.optimizer, gradients, self.weights)])
        return dataclasses.replace(
            report, losses={**report.losses, "auxiliary_loss": auxiliary_loss}
        )
