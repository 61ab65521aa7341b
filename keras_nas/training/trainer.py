"""Training weights: DNAL's first and last stages, and everyone's retraining."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_nas.errors import KerasNasError, UsageError
from keras_nas.gates import find
from keras_nas.tasks import Task
from keras_nas.training.alike_updates import trace_alike_updates_once
from keras_nas.training.distill_config import DistillConfig
from keras_nas.training.distillation import Distillation
from keras_nas.training.evaluation import Evaluator
from keras_nas.training.loop import run_stage
from keras_nas.training.rematerialization import Rematerialized
from keras_nas.training.schedules import EverySteps, learning_rate
from keras_nas.training.session import Session
from keras_nas.training.stage import Data, Stage
from keras_nas.training.step import (
    Learned,
    Losses,
    descend,
    global_mean,
    replica_share,
    replicas,
)
from keras_nas.training.train_config import TrainConfig


def make_optimizer(
    config: TrainConfig, steps: int, variables: list[keras.Variable], loss_scaling: bool
) -> keras.optimizers.Optimizer:
    """The optimizer of a stage, built for `variables`.

    Args:
        config: Its settings; `weight_decay` is the loss's matter and not used here.
        steps: Batches an epoch.
        variables: What it will move.
        loss_scaling: Wrap it for float16 gradients.
    """
    rate = learning_rate(
        config.schedule,
        config.learning_rate,
        config.schedule_epochs or config.epochs,
        steps / config.accumulate_steps,
        config.boundaries,
        config.factor,
        config.final_learning_rate,
        config.warmup_epochs,
        config.restart_epochs,
        config.restart_factor,
    )
    start = round(config.schedule_start * steps / config.accumulate_steps)
    if (config.accumulate_steps > 1 or start) and not isinstance(rate, float):
        rate = EverySteps(rate, config.accumulate_steps, start)
    shared = {
        "global_clipnorm": config.clip_norm or None,
        "gradient_accumulation_steps": accumulation(config),
    }
    if config.optimizer == "adam":
        optimizer = keras.optimizers.Adam(rate, epsilon=config.epsilon, **shared)
    else:
        optimizer = keras.optimizers.SGD(rate, config.momentum, config.nesterov, **shared)
    trace_alike_updates_once(optimizer)
    if loss_scaling:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(variables)
    return optimizer


def accumulation(config: TrainConfig) -> int | None:
    """`gradient_accumulation_steps` as Keras' optimizers take it: None for every batch.

    Raises:
        UsageError: Under several replicas, where those optimizers cannot accumulate.
    """
    count = replicas()
    if config.accumulate_steps > 1 and count > 1:
        raise UsageError(
            "`accumulate_steps` must be 1 with several replicas, whose batches are summed already. "
            f"Received: accumulate_steps={config.accumulate_steps} with {count} replicas"
        )
    return config.accumulate_steps if config.accumulate_steps > 1 else None


def needs_loss_scaling(model: keras.Model) -> bool:
    """Whether some layer of the model computes in float16."""
    return any(layer.compute_dtype == "float16" for layer in model.layers)


def kernels(model: keras.Model) -> list[keras.Variable]:
    """The weights that decay: trainable kernels, but no bias, no scale and no gate."""
    return [
        variable
        for variable in model.trainable_variables
        if "kernel" in variable.name and len(variable.shape) > 1
    ]


def weight_penalty(config: TrainConfig, variables: list[keras.Variable]) -> tf.Tensor:
    """The loss's second term, λ_w / 2 · Σ‖W‖² or λ_w ‖W‖₂: a float32 scalar.

    DNAL's Alg. 1 prints λ_w ‖W‖₂ and its settings call λ_w SGD's weight decay, which is the
    gradient λ_w W of the squared form.
    """
    if not variables or not config.weight_decay:
        return tf.zeros(())
    squares = [tf.nn.l2_loss(tf.cast(v.value, tf.float32)) for v in variables]
    half = tf.add_n(squares)
    if config.weight_norm == "squared":
        return config.weight_decay * half
    return config.weight_decay * tf.sqrt(2.0 * half)


class TrainStage(Stage):
    """Trains every trainable weight of a model on the task's loss and the weight penalty.

    The model runs in training mode. Losses that its layers add themselves count as part of the
    task's.

    Args:
        name: The stage's name.
        model: What to train, in place. Its gates, if it has any, keep their modes and logits.
        train_data: Batches `(inputs, targets)`.
        validation_data: Evaluated after each epoch; None for none.
        task: Loss and metrics.
        config: The settings.
        distillation: What it learns from a teacher besides; None for nothing.

    Raises:
        KerasNasError: When the stage begins, if the model has no weights to train.
    """

    def __init__(
        self,
        name: str,
        model: keras.Model,
        train_data: Data,
        validation_data: Data | None,
        task: Task,
        config: TrainConfig,
        distillation: Distillation | None = None,
    ):
        with tf.distribute.get_strategy().scope():
            super().__init__(name, config.epochs, train_data, task.metrics())
        self.model = model
        self.task = task
        self.config = config
        self.distillation = distillation
        self.network = Rematerialized(model) if config.rematerialize else model
        self.weights = trainable_weights(model)
        self.kernels = kernels(model)
        self._evaluator = None
        if validation_data is not None:
            self._evaluator = Evaluator(model, task, validation_data)

    def begin(self, steps):
        if not self.weights:
            raise KerasNasError(
                f"Stage '{self.name}' has nothing to train: model '{self.model.name}' has no "
                "weights. A search that leaves none was pressed too hard: lower its penalty."
            )
        scaling = needs_loss_scaling(self.model)
        self.optimizer = make_optimizer(self.config, steps, self.weights, scaling)

    def train_step(self, batch):
        forward, judged = self.forward, self.judged
        losses: Callable[[Any, Any], Losses] = self.losses
        if self.distillation is not None:
            forward, losses, judged = self.distillation.around(batch[0], forward, losses, judged)
        return descend(batch, forward, losses, self.learned(), self.metrics, judged)

    def forward(self, inputs):
        """The network's outputs in training."""
        return self.network(inputs, training=True)

    def judged(self, outputs):
        """What of the outputs the metrics are for."""
        return outputs

    def learned(self) -> list[Learned]:
        """What a step moves."""
        return [Learned(self.weights, self.optimizer)]

    def losses(self, targets, outputs) -> dict[str, tf.Tensor]:
        """This replica's parts of the task's loss, the weight penalty and, as "loss", their sum."""
        task_loss = global_mean(self.task.loss(targets, outputs))
        if self.model.losses:
            task_loss += replica_share(tf.add_n(self.model.losses))
        penalty = replica_share(weight_penalty(self.config, self.kernels))
        return {"loss": task_loss + penalty, "task_loss": task_loss}

    def state(self):
        return {"model": self.model.variables, "optimizer": self.optimizer.variables}

    def replay(self, batch):
        return self.model, batch[0], True

    def after_epoch(self, epoch):
        return validation_record(self._evaluator)

    def images(self):
        return validation_images(self._evaluator)


def validation_images(evaluator: Evaluator | None) -> dict[str, np.ndarray]:
    """The evaluation's images as `images`, where the task has any."""
    images = evaluator.images() if evaluator is not None else None
    return {} if images is None else {"images": images}


def validation_record(evaluator: Evaluator | None) -> dict[str, float]:
    """The evaluation's values as `val_loss`, `val_top1` and so on."""
    if evaluator is None:
        return {}
    return {f"val_{name}": value for name, value in evaluator().items()}


def trainable_weights(model: keras.Model) -> list[keras.Variable]:
    """The model's trainable variables without the gates'."""
    gates = {id(v) for gate in find(model) for v in gate.trainable_variables}
    return [variable for variable in model.trainable_variables if id(variable) not in gates]


def train(
    model: keras.Model,
    train_data: Data,
    validation_data: Data | None,
    config: TrainConfig,
    *,
    task: Task,
    session: Session | None = None,
    name: str = "train",
    teacher: keras.Model | None = None,
    distill: DistillConfig | None = None,
) -> list[dict[str, Any]]:
    """Trains a model in place.

    Example:

    ```python
    train(
        small, train_data, None, TrainConfig(epochs=10), task=Classification.of(small),
        teacher=original, distill=DistillConfig(weight=0.5),
    )
    ```

    Args:
        model, train_data, validation_data, config, task, name: As in `TrainStage`.
        session: As in `run_stage`.
        teacher: A network with the same inputs and outputs to learn from, as `distill` says; it is
            not changed, and nothing of it is saved.
        distill: How; None for not at all.

    Returns:
        One record an epoch; with a teacher, it has `distill_loss`.

    Raises:
        UsageError: If the teacher does not suit the model.
        KerasNasError: As in `run_stage`.
    """
    with tf.distribute.get_strategy().scope():
        distillation = Distillation.of(teacher, model, task, distill)
    stage = TrainStage(name, model, train_data, validation_data, task, config, distillation)
    return run_stage(stage, session)
