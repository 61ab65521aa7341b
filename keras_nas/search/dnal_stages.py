"""DNAL's stages of gates: alone, as in Alg. 1, and with the weights beside them."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_nas import gates, importance
from keras_nas.layers import ScaledSigmoidGate
from keras_nas.search.delta_schedule import DeltaSchedule
from keras_nas.search.dnal_config import DnalConfig
from keras_nas.search.dnal_penalty import make_penalty
from keras_nas.search.gate_statistics import gate_statistics, probabilities
from keras_nas.tasks import Task
from keras_nas.training.evaluation import Evaluator
from keras_nas.training.rematerialization import Rematerialized
from keras_nas.training.stage import Data, Stage
from keras_nas.training.step import Learned, descend, global_mean, with_penalty
from keras_nas.training.train_config import TrainConfig
from keras_nas.training.trainer import (
    TrainStage,
    make_optimizer,
    needs_loss_scaling,
    validation_images,
    validation_record,
)

logger = logging.getLogger(__name__)

SPREAD = 1.0
"""How far from `start_logit` a criterion puts the channels that are worth most and least."""
COLLAPSED = 0.8
"""The share of the original's metric under which the start of stage 2 is a collapse."""


class GateStage(Stage):
    """Stage 2 of DNAL: learns the logits s alone; weights and statistics are frozen.

    The model runs in inference mode (BatchNormalization uses its moving statistics, dropout is
    off), and no gradient of a weight is computed. The loss is L0 + λ_a Σ sigmoid(δ s), Eq. (4), or
    the sum with prices; see `make_penalty`.
    Each epoch's record has δ and how many channels are kept and undecided (Fig. 3); the first one
    also what the network was worth without gates (`original_top1`) and before the first step
    (`start_top1`).

    Args:
        supernet: A model with `ScaledSigmoidGate`s.
        train_data: Batches `(inputs, targets)`.
        validation_data: Evaluated after each epoch with soft gates; None for none.
        task: Loss and metrics.
        config: The settings.
        name: The stage's name.
        epochs: By default `config.architecture.epochs`.

    Attributes:
        annealing: Epochs that δ and the gates' learning rate span.

    Raises:
        KerasNasError: As in `make_penalty`.
    """

    def __init__(
        self,
        supernet: keras.Model,
        train_data: Data,
        validation_data: Data | None,
        task: Task,
        config: DnalConfig,
        name: str = "architecture",
        epochs: int | None = None,
    ):
        with tf.distribute.get_strategy().scope():
            super().__init__(
                name, config.architecture.epochs if epochs is None else epochs, train_data,
                task.metrics(),
            )  # fmt: skip
        self.model = supernet
        self.task = task
        self.config = config
        self.network = Rematerialized(supernet) if config.architecture.rematerialize else supernet
        self.gates = gates.learnable(supernet, ScaledSigmoidGate)
        self.logits = [gate.logits for gate in self.gates]
        self.penalty: Callable[..., Any] = make_penalty(supernet, config)
        self.delta = DeltaSchedule(config.delta_max, config.delta_schedule)
        self.annealing = self.epochs
        self._steps = 1
        self._start: dict[str, float] = {}
        self._evaluator = None
        if validation_data is not None:
            self._evaluator = Evaluator(supernet, task, validation_data)

    def begin(self, steps):
        self._steps = steps
        for gate in self.gates:
            gate.mode = "soft"
            gate.delta.assign(1.0)
        self.start_logits()
        config = dataclasses.replace(self.config.architecture, epochs=self.annealing)
        scaling = needs_loss_scaling(self.model)
        self.optimizer = make_optimizer(config, steps, self.logits, scaling)
        if self.epochs and self._evaluator is not None:
            self._start = self.start(self._evaluator)

    def start_logits(self) -> None:
        """Puts the gates where `gates_start` says."""
        order = self.config.first_order
        first = 0.0 if order == "zero" else self.config.start_logit
        for gate in self.gates:
            gate.logits.assign(tf.fill((gate.channels,), first))
        if order not in ("zero", "identity"):
            scores = importance.score(self.model, order)
            importance.start_logits(
                self.model, scores, low=first - SPREAD, high=first + SPREAD, ranking="layer"
            )

    def start(self, evaluator: Evaluator) -> dict[str, float]:
        """What the network is worth without gates and with them; warns where they break it."""
        gates.set_mode(self.model, "off")
        original = evaluator()
        for gate in self.gates:
            gate.mode = "soft"
        self._move_delta(0, 0)
        start = evaluator()
        name = self.task.monitor
        if start[name] < COLLAPSED * original[name]:
            logger.warning(
                "with its gates at their start, '%s' has %s %.4g, without them %.4g: what they "
                "learn is chance. --gates_start=identity (`gates_start` of DnalConfig) begins near "
                "the trained network.",
                self.model.name, name, start[name], original[name],
            )  # fmt: skip
        return {
            **{f"original_{key}": value for key, value in original.items()},
            **{f"start_{key}": value for key, value in start.items()},
        }

    def finished(self, records):
        return self.config.stop_decided and records[-1]["undecided"] == 0

    def before_epoch(self, epoch):
        self._move_delta(epoch, 0)

    def before_step(self, epoch, step, steps):
        if self.config.reset_momentum and step == 0:
            for variable in self.optimizer.variables:
                if "momentum" in variable.name:
                    variable.assign(tf.zeros(variable.shape))
        if self.config.delta_schedule == "step":
            self._move_delta(epoch, step)

    def _move_delta(self, epoch, step):
        value = self.delta.value(epoch, step, self.annealing, self._steps)
        for gate in self.gates:
            gate.delta.assign(value)

    def train_step(self, batch):
        return descend(batch, self.forward, self.losses, self.learned(), self.metrics)

    def forward(self, inputs):
        """The gated network's outputs, in inference mode."""
        return self.network(inputs, training=False)

    def learned(self) -> list[Learned]:
        """What a step moves."""
        return [Learned(self.logits, self.optimizer)]

    def losses(self, targets, outputs) -> dict[str, tf.Tensor]:
        """This replica's parts of the task's loss, the gates' penalty and, as "loss", their sum."""
        task_loss = global_mean(self.task.loss(targets, outputs))
        losses = {"loss": task_loss, "task_loss": task_loss}
        return with_penalty(losses, self.penalty(self.gates))

    def state(self):
        return {"model": self.model.variables, "optimizer": self.optimizer.variables}

    def replay(self, batch):
        return self.model, batch[0], False

    def after_epoch(self, epoch):
        record: dict[str, Any] = {"delta": float(keras.ops.convert_to_numpy(self.gates[0].delta))}
        record.update(gate_statistics(self.gates))
        record["kept_by_gate"] = {gate.name: int(gate.mask().sum()) for gate in self.gates}
        if epoch == 0:
            record.update(self._start)
        record.update(validation_record(self._evaluator))
        return record

    def status(self):
        return {"kept": gate_statistics(self.gates)["kept_share"]}

    def images(self):
        return validation_images(self._evaluator)

    def histograms(self):
        every = {"gates/all": probabilities(self.gates)}
        return every | {f"gates/{gate.name}": probabilities([gate]) for gate in self.gates}


class JointStage(GateStage):
    """The ablation of Fig. 5: weights and logits learned together, BatchNormalization training.

    The loss is L0 + λ_w / 2 · Σ‖W‖² + λ_a Σ sigmoid(δ s); each kind has its own SGD, with the
    settings of `config.weights` and `config.architecture`, over the sum of their epochs.

    Args:
        supernet, train_data, validation_data, task, config, name: As in `GateStage`.
        training, epochs: How the weights are trained and for how long, if not so.
    """

    def __init__(
        self,
        supernet: keras.Model,
        train_data: Data,
        validation_data: Data | None,
        task: Task,
        config: DnalConfig,
        name: str = "joint",
        training: TrainConfig | None = None,
        epochs: int | None = None,
    ):
        if epochs is None:
            epochs = config.weights.epochs + config.architecture.epochs
        if training is None:
            training = dataclasses.replace(config.weights, epochs=epochs)
        super().__init__(supernet, train_data, validation_data, task, config, name, epochs)
        self.flags = "weights"
        self._training = TrainStage(name, supernet, train_data, None, task, training)
        if training.rematerialize:
            self.network = self._training.network

    def begin(self, steps):
        super().begin(steps)
        scaling = needs_loss_scaling(self.model)
        self.weights = self._training.weights
        training = self._training.config
        self.weight_optimizer = make_optimizer(training, steps, self.weights, scaling)

    def start(self, evaluator):
        """Nothing: no weight is trained yet."""
        return {}

    def forward(self, inputs):
        return self.network(inputs, training=True)

    def learned(self):
        return [Learned(self.weights, self.weight_optimizer), *super().learned()]

    def losses(self, targets, outputs):
        return with_penalty(self._training.losses(targets, outputs), self.penalty(self.gates))

    def state(self):
        return {**super().state(), "weight_optimizer": self.weight_optimizer.variables}

    def replay(self, batch):
        return self.model, batch[0], True
