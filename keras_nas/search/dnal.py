"""DNAL: weights first, then gates by annealing a scaled sigmoid, then surgery and finetuning."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import keras
import tensorflow as tf

from keras_nas import gates, importance, surgery
from keras_nas.layers import ScaledSigmoidGate
from keras_nas.regularizers import GateSum
from keras_nas.search.delta_schedule import DeltaSchedule
from keras_nas.search.dnal_config import DnalConfig
from keras_nas.search.dnal_target import check_reachable, land_on_target
from keras_nas.search.gate_statistics import gate_statistics, probabilities
from keras_nas.search.method import GatedMethod, SearchResult, search
from keras_nas.tasks import Task
from keras_nas.training.evaluation import Evaluator
from keras_nas.training.loop import run_stage
from keras_nas.training.rematerialization import Rematerialized
from keras_nas.training.session import Session
from keras_nas.training.stage import Data, Stage, inputs_of
from keras_nas.training.step import Learned, descend, global_mean, with_penalty
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
    off), and no gradient of a weight is computed. The loss is L0 + λ_a Σ sigmoid(δ s), Eq. (4).
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
        self.penalty = GateSum(config.lambda_a, config.penalty_scaled)
        self.delta = DeltaSchedule(config.delta_max, config.delta_schedule)
        self._steps = 1
        self._start: dict[str, float] = {}
        self._evaluator = None
        if validation_data is not None:
            self._evaluator = Evaluator(supernet, task, validation_data)

    def begin(self, steps):
        self._steps = steps
        first = 0.0 if self.config.gates_start == "zero" else self.config.start_logit
        for gate in self.gates:
            gate.mode = "soft"
            gate.logits.assign(tf.fill((gate.channels,), first))
            gate.delta.assign(1.0)
        if self.config.gates_start not in ("zero", "identity"):
            scores = importance.score(self.model, self.config.gates_start)
            importance.start_logits(
                self.model, scores, low=first - SPREAD, high=first + SPREAD, ranking="layer"
            )
        config = dataclasses.replace(self.config.architecture, epochs=self.epochs)
        scaling = needs_loss_scaling(self.model)
        self.optimizer = make_optimizer(config, steps, self.logits, scaling)
        if self.epochs and self._evaluator is not None:
            self._start = self.start(self._evaluator)

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
        value = self.delta.value(epoch, step, self.epochs, self._steps)
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
    """

    def __init__(self, supernet, train_data, validation_data, task, config):
        epochs = config.weights.epochs + config.architecture.epochs
        super().__init__(
            supernet, train_data, validation_data, task, config, name="joint", epochs=epochs
        )
        self.flags = "weights"
        self._training = TrainStage("joint", supernet, train_data, None, task, config.weights)
        if config.weights.rematerialize:
            self.network = self._training.network

    def begin(self, steps):
        super().begin(steps)
        config = dataclasses.replace(self.config.weights, epochs=self.epochs)
        scaling = needs_loss_scaling(self.model)
        self.weights = self._training.weights
        self.weight_optimizer = make_optimizer(config, steps, self.weights, scaling)

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


class Dnal(GatedMethod):
    """DNAL's three stages (Alg. 1); lines 9 to 11 are those of `GatedMethod`.

    Args:
        config: The settings; the paper's by default.
    """

    name = "dnal"
    remedy = "Lower `lambda_a`, or give the gates' stage a lower learning rate or fewer epochs."
    gate = ScaledSigmoidGate

    def __init__(self, config: DnalConfig | None = None):
        self.config = config or DnalConfig()

    def check(self, supernet, context, source=None):
        """The target can be reached."""
        if self.config.targeted is not None:
            check_reachable(supernet, self.config)

    def train_weights(self, supernet, context):
        """Lines 1 to 4: the weights, with the gates off; nothing with strategy "joint"."""
        if self.config.strategy == "joint":
            return []
        return super().train_weights(supernet, context)

    def learn(self, supernet, context):
        """Lines 5 to 8: the gates, which end in mode "hard".

        A group that would lose its last channel with no way round it keeps its best, and more where
        the network would not tell the first training batch's inputs apart. With a target, the
        channels with the highest s stay, as many as it allows.
        """
        kind = JointStage if self.config.strategy == "joint" else GateStage
        stage = kind(
            supernet, context.train_data, context.validation_data, context.task, self.config
        )
        records = run_stage(stage, context.session)
        if self.config.targeted is not None:
            land_on_target(supernet, self.config)
        surgery.rescue(supernet, inputs_of(context.train_data))
        gates.set_mode(supernet, "hard")
        return records

    def summary(self, records):
        """Under "gates": how many channels there are and stay, and δ at the end."""
        names = ("channels", "kept", "undecided", "delta")
        return {"gates": {name: records[-1][name] for name in names}} if records else {}


def dnal(
    model: keras.Model,
    train_data: Data,
    *,
    validation_data: Data | None = None,
    config: DnalConfig | None = None,
    task: Task | None = None,
    session: Session | None = None,
) -> SearchResult:
    """Learns which channels a network needs, rebuilds it without the others, and finetunes it.

    The three stages of Alg. 1: weights with the gates off; gates with everything else frozen,
    while δ grows; surgery and finetuning. `model` is not changed (unless it was born with gates).
    Call it in a `tf.distribute` strategy's scope to use its replicas.

    Example:

    ```python
    model = keras.applications.MobileNetV2(input_shape=(32, 32, 3), weights=None, classes=10)
    result = keras_nas.search.dnal(model, train_data, validation_data=validation_data)
    result.small.save("small.keras")
    ```

    Args:
        model: A functional or Sequential model with one input, or a supernet with gates.
        train_data: A `tf.data.Dataset` of batches `(inputs, targets)`, or what gives one for each
            epoch; see `keras_nas.training.stage.Data`.
        validation_data: Evaluated after each epoch; None for none.
        config: The settings; the paper's by default.
        task: Loss and metrics; by default classification by the model's output.
        session: Where to write, resuming, progress; by default nothing is written.

    Returns:
        A `SearchResult`.

    Raises:
        KerasNasError: If the model cannot be gated, or as in `run_stage`.
        DeadNetworkError: If the network that is left is no better than a constant.

    References:
        Guo et al., Differentiable Neural Architecture Learning for Efficient Neural Network Design,
        Alg. 1.
    """
    return search(
        Dnal(config), model, train_data, validation_data=validation_data, task=task, session=session
    )
