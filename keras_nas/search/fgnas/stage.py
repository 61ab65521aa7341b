"""FGNAS' search stage: weights and gates together, until the target is reached."""

from __future__ import annotations

import logging
import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_nas import gates, importance, surgery
from keras_nas.architecture import Architecture
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.graph import read
from keras_nas.layers import STEGate
from keras_nas.search.align_prices import prices_of
from keras_nas.search.fgnas.config import FgnasConfig
from keras_nas.search.fgnas.constraint import Protection, make_constraint, open_channels
from keras_nas.search.fgnas.folded_gates import fold_gates
from keras_nas.search.fgnas.present_cost import PresentCost
from keras_nas.search.gate_statistics import gate_statistics, probabilities
from keras_nas.search.steering import steering
from keras_nas.search.units import Units
from keras_nas.tasks import Task
from keras_nas.training.rematerialization import Rematerialized
from keras_nas.training.stage import Data, epoch_of
from keras_nas.training.step import Learned, with_penalty
from keras_nas.training.trainer import (
    TrainConfig,
    TrainStage,
    make_optimizer,
    needs_loss_scaling,
    validation_record,
)

logger = logging.getLogger(__name__)

START_BATCHES = 16
"""Batches at most that the gates' first order is read from, where its criterion reads any."""
STEERING_RANGE = 1e4
"""λ is steered within this factor of where it began, up and down."""
EMPTIEST = "every gate closed that can be"
LOOK_EVERY = 10
"""Steps between two looks at what is left, with `steer="gates"`: a GPU waits for each of them."""


class FgnasStage(TrainStage):
    """Step 3 of FGNAS: minimises L(θ, ψ) + λ R(ψ), Eq. (7), over weights θ and gates ψ at once.

    After a step, the stage looks at what is left: after each of them, or with `steer="gates"` after
    each tenth of the stage (`LOOK_EVERY`) and the last of each epoch, so that a GPU seldom waits.
    With `steer="gates"`, a look closes the units nearest to closed as far as a plan asks that falls
    evenly to the target; with `min_share`, each layer keeps its best. A gate that has no way round
    it gets its best channel back; where gates together cut the network, what is counted has the
    channels that a rescue would reopen.

    It ends with the look that finds the network that surgery would build within the target; an
    epoch may be cut short by it. Where more has closed than was needed (but with `steer="gates"`),
    the closed gates that were nearest to open (by ψ_on − ψ_off, over all layers) are opened again
    as far as the target allows.
    Each epoch's record has the resource, its target, λ, and the channels kept.

    Args:
        supernet: A model with `STEGate`s.
        train_data: Batches `(inputs, targets)`.
        validation_data: Evaluated after each epoch; None for none.
        task: Loss and metrics.
        config: The settings.
        name: The stage's name.

    Raises:
        KerasNasError: If the model has no `STEGate`, or as in `Resource`.
    """

    def __init__(
        self,
        supernet: keras.Model,
        train_data: Data,
        validation_data: Data | None,
        task: Task,
        config: FgnasConfig,
        name: str = "architecture",
    ):
        super().__init__(name, supernet, train_data, validation_data, task, config.search)
        self.settings = config
        self.gates = gates.learnable(supernet, STEGate)
        self.logits = [gate.logits for gate in self.gates]
        folded = fold_gates(supernet)
        self.network = Rematerialized(folded) if self.config.rematerialize else folded
        shapes = batched_shape(config)
        steered = steering(supernet, config, config.resource, shapes)
        self.resource, self.target, self.budget = steered
        self.full = self.resource.full()
        with tf.distribute.get_strategy().scope():
            self.strength = keras.Variable(config.lambda_r, trainable=False, name="lambda_r")
            self.present = PresentCost(self.resource, self.full)
        self.constraint = make_constraint(self.gates, config)
        self.dependence = surgery.Dependence(
            read(supernet), {gate.name: gate for gate in self.gates}
        )
        self.protection = Protection(self.gates, self.dependence)
        self.units = Units(supernet, self.gates, config.min_share)
        self.prices = prices_of(config)
        self.latency = importance.Latency.load(config.latency_table, config.interpolate)
        self.rounding = surgery.Rounding(
            supernet, config.round_to, config.round_streams, config.align, self.prices
        )
        self.plan = self.full
        self.reached = False
        self._looks = True
        self._settle = tf.function(self._settled, autograph=False)
        self._seen: bytes | None = None
        self._value = self.full
        self._price = 1.0

    def begin(self, steps):
        super().begin(steps)
        self.check_reachable()
        self._start_gates()
        for gate in self.gates:
            gate.mode = "soft"
        config = TrainConfig(
            epochs=self.epochs,
            optimizer=self.settings.gate_optimizer,
            learning_rate=self.settings.gate_learning_rate,
            weight_decay=0.0,
            accumulate_steps=self.config.accumulate_steps,
        )
        scaling = needs_loss_scaling(self.model)
        self.gate_optimizer = make_optimizer(config, steps, self.logits, scaling)

    def _start_gates(self) -> None:
        """Gives the logits the order of the settings' criterion; none for "even"."""
        criterion = self.settings.start
        if criterion == "even":
            return
        data = {"data": epoch_of(self.data, 0), "loss": self.task.loss, "batches": START_BATCHES}
        try:
            scores = importance.score(
                self.model, criterion, **(data if criterion == "taylor" else {})
            )
        except KerasNasError as error:
            if criterion == "taylor":
                raise
            logger.warning("The gates start in the order of 'taylor': %s", error)
            scores = importance.score(self.model, "taylor", **data)
        importance.start_logits(self.model, scores, ranking="layer", tied=self.units.tied)

    def check_reachable(self) -> None:
        """Raises `UsageError` if a target is below what the least network has, or all are above."""
        if self.target is None:
            return
        masks = self.rounding.masks(self._rescued(self.units.by_gate(self.units.floor_mask())))
        least = self._costs(masks)
        if self.budget is not None:
            if self.budget.price_of(least) > 1:
                raise UsageError(self.budget.refusal(least, EMPTIEST))
            if self.budget.price_of(self.budget.full) <= 1:
                raise UsageError(
                    f"One of {self.budget.named()} must be less than what all of "
                    f"'{self.model.name}' has. Received: {self.budget.settings()}"
                )
            return
        ((what, fewest),) = least.items()
        if self.target < fewest:
            raise UsageError(
                f"`target_{what}` must be {fewest:,.6g} or more: what is left of "
                f"'{self.model.name}' with {EMPTIEST}. "
                f"Received: {self.target:,.6g} (the full network has {self.full:,.6g})"
            )
        if self.target > self.full:
            raise UsageError(
                f"`target_{what}` must be {self.full:,.6g} or less, what all of "
                f"'{self.model.name}' has. Received: {self.target:,.6g}"
            )

    def before_epoch(self, epoch):
        self.measured()  # a run that is resumed has its gates from the checkpoint

    def before_step(self, epoch, step, steps):
        done = epoch * steps + step + 1
        self._looks = self.settings.steer != "gates" or done % LOOK_EVERY == 0 or step + 1 == steps
        if self.target is None:
            return
        if self.settings.steer == "lambda":
            total = max(1, self.epochs * steps - 1)
            plan = self.full + (self.target - self.full) * (epoch * steps + step) / total
            self._move_lambda((self.measured() - plan) / self.full)
        self.plan = self.full + (self.target - self.full) * done / (self.epochs * steps)

    def _lambda(self) -> float:
        return float(keras.ops.convert_to_numpy(self.strength))

    def _move_lambda(self, excess: float) -> None:
        """λ grows where more is left than the plan has, and falls where less is."""
        start = self.settings.lambda_r
        moved = self._lambda() * math.exp(self.settings.steer_gain * excess)
        self.strength.assign(min(max(moved, start / STEERING_RANGE), start * STEERING_RANGE))

    def learned(self):
        return [*super().learned(), Learned(self.logits, self.gate_optimizer)]

    def losses(self, targets, outputs):
        resource = self.resource(tf.convert_to_tensor(self.present.value))
        if self.settings.lambda_unit == "full":
            resource /= self.full
        penalty = self.strength * tf.cast(resource, tf.float32)
        return with_penalty(super().losses(targets, outputs), penalty)

    def state(self):
        return {
            **super().state(),
            "gate_optimizer": self.gate_optimizer.variables,
            "lambda_r": [self.strength],
        }

    def satisfied(self):
        present, emptied = self._settle()
        if not self._looks:
            return False
        measured, emptied = float(present), emptied.numpy()
        if emptied.any():
            self.protection.open_best(emptied)
            measured = self.measured()
        if self.settings.min_share and self.units.keep_floor():
            measured = self.measured()
        if self.target is not None and self.settings.steer == "gates" and measured > self.plan:
            self.units.close_until(self._counted, self.plan)
            measured = self.measured()
        self.reached = self.target is not None and measured <= self.target and self.is_met()
        if self.target is not None and self.reached and self.settings.steer != "gates":
            self._reopen_surplus()
            self.mend()
        return self.reached

    def _settled(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Constrains the gates; R as they then are, and `Protection.emptied`."""
        if self.constraint is not None:
            self.constraint()
        return self.present.counted(), self.protection.emptied()

    def mend(self) -> None:
        """Opens the channels without which the gates that are closed would cut the network."""
        masks = self._rescued({gate.name: gate.mask() for gate in self.gates})
        for gate in self.gates:
            open_channels(gate, masks[gate.name])

    def finished(self, records):
        return self.reached

    def after_epoch(self, epoch):
        record: dict[str, Any] = {"resource": self.left(), "lambda_r": self._lambda()}
        if self.target is not None:
            steered = self.budget is not None and self.resource.what not in self.budget.targets
            record[f"{'steered' if steered else 'target'}_{self.resource.what}"] = self.target
        statistics = gate_statistics(self.gates)
        record.update({key: statistics[key] for key in ("channels", "kept", "kept_share")})
        record["kept_by_gate"] = {gate.name: int(gate.mask().sum()) for gate in self.gates}
        return {**record, **validation_record(self._evaluator)}

    def status(self):
        return {"share": self.measured() / self.full}

    def histograms(self):
        return {"gates/all": probabilities(self.gates)}

    def left(self) -> float:
        """The resource of what surgery would build: rescued, rounding and aligning counted in."""
        masks = {gate.name: gate.mask() for gate in self.gates}
        state = b"".join(np.packbits(mask).tobytes() for mask in masks.values())
        if state != self._seen:
            masks = self.rounding.masks(self._rescued(masks))
            costs, what = self._costs(masks), self.resource.what
            self._seen, self._value = state, costs[what] if what in costs else self._cost(masks)
            self._price = 1.0 if self.budget is None else self.budget.price_of(costs)
        return self._value

    def measured(self) -> float:
        """R under the present masks."""
        return float(self.present())

    def is_met(self) -> bool:
        """Whether what surgery would build meets the targets."""
        if self.target is None:
            return False
        left = self.left()
        return left <= self.target if self.budget is None else self._price <= 1

    def _counted(self, joined: np.ndarray) -> float:
        return float(self.resource.exact_of_all(tf.constant(joined)))

    def _rescued(self, masks: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        scores = {gate.name: gate.scores() for gate in self.gates}
        return surgery.rescued(masks, scores, self.dependence)

    def land(self) -> None:
        """Keeps the channels with the greatest ψ_on − ψ_off that the target allows, tied or not.

        Never over the targets, and within a thousandth or a channel of the tightest; the gates end
        in mode "hard". Where no network keeps them all, the least stays.
        """
        settings = self.settings
        targets = {self.resource.what: self.target} if self.budget is None else settings.targets
        budget: dict[str, Any] = {f"target_{what}": value for what, value in targets.items()}
        importance.prune(
            self.model,
            self.units.scores(),
            **budget,
            latency=self.latency,
            ranking="global",
            tied=self.units.tied,
            min_channels=0,
            min_share=settings.min_share if self.units.tied else 0.0,
            round_to=settings.round_to,
            strict=False,
            align=settings.align,
            prices=self.prices,
            input_shapes=batched_shape(settings),
        )

    def _reopen_surplus(self) -> None:
        """Opens again, best first, what the last step closed beyond the targets.

        Channels that are as good as each other are opened by turns, one of each gate: where λ is so
        strong that all of a layer's channels have closed alike, each layer gets its share back.
        """
        before = [keras.ops.convert_to_numpy(gate.logits) for gate in self.gates]
        order = _closed_channels([gate.scores() for gate in self.gates])

        def fits(count: int) -> bool:
            for index, (gate, logits) in enumerate(zip(self.gates, before, strict=True)):
                opened = np.zeros(gate.channels, bool)
                opened[[channel for owner, channel in order[:count] if owner == index]] = True
                gate.logits.assign(logits)
                open_channels(gate, opened)
            if self.constraint is not None:
                self.constraint()
            return self.is_met()

        count = 0
        while True:
            high = len(order)
            while count < high:
                middle = (count + high + 1) // 2
                count, high = (middle, high) if fits(middle) else (count, middle - 1)
            if count == len(order):
                break
            # One more of this gate is too much (it may bring a whole branch back): without it.
            blocked = order[count][0]
            order[count:] = [place for place in order[count:] if place[0] != blocked]
        fits(count)

    def _costs(self, masks: dict[str, np.ndarray]) -> dict[str, float]:
        """By resource, what counts towards the targets."""
        if self.budget is None:
            return {self.resource.what: self._cost(masks)}
        return self.budget.costs(masks)

    def excess(self) -> tuple[str, float, float]:
        """The target that most is left of, in its resource: what, what is left, the target."""
        assert self.target is not None
        if self.budget is None:
            return self.resource.what, self.left(), self.target
        masks = {gate.name: gate.mask() for gate in self.gates}
        costs = self.budget.costs(self.rounding.masks(self._rescued(masks)))
        what = self.budget.tightest(costs)
        return what, costs[what], self.budget.targets[what]

    def _cost(self, masks: dict[str, np.ndarray]) -> float:
        latency = self.latency if self.resource.what == "latency_ms" else None
        if self.settings.align == "pad" and latency is None:
            return self.resource.cost(masks)
        kept = {name: np.flatnonzero(mask).tolist() for name, mask in masks.items()}
        bare = Architecture(kept, {name: len(mask) for name, mask in masks.items()})
        shapes = batched_shape(self.settings)
        plan = surgery.make_plan(
            self.model, bare, align=self.settings.align, prices=self.prices, input_shapes=shapes
        )
        if latency is not None:
            return latency.of(surgery.planned_graph(plan))
        return float(getattr(surgery.plan_costs(plan), self.resource.what))


def _closed_channels(gaps: list[np.ndarray]) -> list[tuple[int, int]]:
    """The closed channels as (gate, channel), best first; of equals, the first of each gate first.

    Worked example: gaps (−1, −1), (−1, −2) give (0, 0), (1, 0), (0, 1), (1, 1).
    """
    found = []
    for gate, values in enumerate(gaps):
        closed = [channel for channel in np.argsort(-values, kind="stable") if values[channel] < 0]
        found += [(-values[channel], turn, gate, channel) for turn, channel in enumerate(closed)]
    return [(gate, int(channel)) for _, _, gate, channel in sorted(found)]


def batched_shape(config: FgnasConfig) -> list[tuple[int, ...]] | None:
    """`resource_shape` with a batch of 1, as `keras_nas.graph.read` takes it."""
    return [(1, *config.resource_shape)] if config.resource_shape else None
