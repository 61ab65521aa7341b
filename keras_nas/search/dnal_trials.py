"""DNAL's stage 2 run several times from the same weights, until λ_a fits the target."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from keras_nas import surgery
from keras_nas.graph import read
from keras_nas.search.align_prices import prices_of
from keras_nas.search.bisection import Bisection
from keras_nas.search.dnal_config import DnalConfig
from keras_nas.search.dnal_stages import GateStage
from keras_nas.search.dnal_target import NEAR, land_on_target
from keras_nas.search.steering import budget_of
from keras_nas.search.units import MARGIN, Units
from keras_nas.training.stage import Data, epoch_of

logger = logging.getLogger(__name__)

GOAL = (1 + NEAR) / 2
"""The share of the target on whose sides λ_a is bisected."""


class TrialsStage(GateStage):
    """Stage 2 of Alg. 1 again and again, each time with another λ_a, until the target is met.

    A trial is a whole `GateStage`: gates, their optimizer and δ begin anew, over the same weights,
    which are frozen, and the same batches. At its end, what surgery would build (each layer's floor
    kept, rescued and rounded) is held against the targets. Within 2 % under the tightest, the
    search has ended; else λ_a is bisected (`Bisection`) and the next trial begins, until
    `config.lambda_trials` are over. Then the logits of the nearest one are put back.

    Records are those of `GateStage`, with `lambda_a` and `trial`; that of a trial's last epoch has
    `of_target`, what is left as a share of the tightest target.

    Args:
        supernet, train_data, validation_data, task: As in `GateStage`.
        config: The settings, with a target and `lambda_trials`.

    Raises:
        KerasNasError: As in `GateStage` and `Budget`.
    """

    def __init__(self, supernet, train_data, validation_data, task, config: DnalConfig):
        of_one = dataclasses.replace(config, lambda_a=1.0)
        super().__init__(supernet, train_data, validation_data, task, of_one)
        self.config, unit = config, self.penalty
        self.epochs *= config.lambda_trials
        self.data = _Again(train_data, lambda: int(self.present["began"]))
        self.budget = budget_of(supernet, config)
        self.units = Units(supernet, self.gates, config.min_share)
        self.dependence = surgery.Dependence(
            read(supernet), {gate.name: gate for gate in self.gates}
        )
        self.rounding = surgery.Rounding(
            supernet, config.round_to, config.round_streams, config.align, prices_of(config)
        )
        channels = sum(gate.channels for gate in self.gates)
        with tf.distribute.get_strategy().scope():
            self.strength = keras.Variable(config.lambda_a, trainable=False, name="lambda_a")
            self.nearest = keras.Variable(np.zeros(channels), trainable=False, name="nearest")
            self.present = _Numbers(
                trial=1, began=0, over=0, settled=0, lambda_a=config.lambda_a, low=0.0,
                high=math.inf, nearest_lambda_a=config.lambda_a, nearest_of_target=math.inf,
            )  # fmt: skip
        self.penalty = lambda gates: tf.convert_to_tensor(self.strength) * unit(gates)

    def begin(self, steps):
        super().begin(steps)
        self._fresh = [np.copy(keras.ops.convert_to_numpy(v)) for v in self.optimizer.variables]

    def before_epoch(self, epoch):
        if self.present["over"]:
            self._begin_trial(epoch)
        super().before_epoch(epoch)

    def _begin_trial(self, epoch: int) -> None:
        self.present.assign(trial=self.present["trial"] + 1, began=epoch, over=0)
        self.strength.assign(self.present["lambda_a"])
        self.start_logits()
        for variable, value in zip(self.optimizer.variables, self._fresh, strict=True):
            variable.assign(value)

    def _move_delta(self, epoch, step):
        super()._move_delta(epoch - int(self.present["began"]), step)

    def state(self):
        further = [self.strength, self.nearest, self.present.variable]
        return {**super().state(), "trials": further}

    def after_epoch(self, epoch):
        record = super().after_epoch(epoch)
        record["trial"] = int(self.present["trial"])
        record["lambda_a"] = self.present["lambda_a"]
        all_epochs = epoch + 1 - self.present["began"] == self.annealing
        if all_epochs or super().finished([record]):
            record["of_target"] = self._end_trial()
        return record

    def finished(self, records):
        return bool(self.present["settled"])

    def _end_trial(self) -> float:
        """Holds the trial against the targets; what it left as a share of the tightest."""
        of_target, tried = self.budget.price(self.masks()), self.present["lambda_a"]
        if distance(of_target) < distance(self.present["nearest_of_target"]):
            self.present.assign(nearest_of_target=of_target, nearest_lambda_a=tried)
            self.nearest.assign(np.concatenate([gate.scores() for gate in self.gates]))
        if _is_met(of_target) or self.present["trial"] == self.config.lambda_trials:
            logits = self.units.by_gate(keras.ops.convert_to_numpy(self.nearest))
            for gate in self.gates:
                gate.assign_scores(logits[gate.name])
            self.present.assign(settled=1)
            return of_target
        bounds = Bisection(tried, self.present["low"], self.present["high"])
        following = bounds.after(too_much=of_target > GOAL)
        self.present.assign(
            over=1, lambda_a=following.strength, low=following.low, high=following.high
        )
        return of_target

    def masks(self) -> dict[str, np.ndarray]:
        """What surgery would build under the gates as they are: bool `(channels,)` by their name"""
        return self.rounding.masks(self._opened())

    def _opened(self) -> dict[str, np.ndarray]:
        floor = self.units.by_gate(self.units.floor_mask())
        masks = {gate.name: gate.mask() | floor[gate.name] for gate in self.gates}
        return surgery.rescued(
            masks, {gate.name: gate.scores() for gate in self.gates}, self.dependence
        )

    def land(self) -> None:
        """Leaves the gates at the network found, which meets the targets.

        Where no trial did, a warning says by how much the nearest missed them, and of its channels
        those with the highest s stay that all targets allow.
        """
        costs = self.budget.costs(self.masks())
        of_target = self.budget.price_of(costs)
        if _is_met(of_target):
            for gate, mask in zip(self.gates, self._opened().values(), strict=True):
                logits = gate.scores()
                gate.assign_scores(np.where(mask & (logits <= 0), np.float32(MARGIN), logits))
            return
        what = self.budget.tightest(costs)
        logger.warning(
            "no λ_a of %d trials lands on `target_%s`=%s: the nearest, %.4g, left %s, %.1f %% %s. "
            "Of its channels those with the highest s stay that the target allows. (More "
            "`lambda_trials` come nearer.)",
            self.config.lambda_trials, what, self.budget.spelt(what, self.budget.targets[what]),
            self.present["nearest_lambda_a"], self.budget.spelt(what, costs[what]),
            100 * abs(of_target - 1), "more" if of_target > 1 else "less",
        )  # fmt: skip
        land_on_target(self.model, self.config)


def _is_met(of_target: float) -> bool:
    return NEAR <= of_target <= 1


def distance(of_target: float) -> float:
    """How far a share of the target is from meeting it: 1/2 and 2 as far, 0.99 not at all."""
    if _is_met(of_target):
        return 0.0
    return abs(math.log(of_target)) if of_target else math.inf


class _Numbers:
    """Numbers by name, in one variable that a checkpoint holds."""

    def __init__(self, **numbers: float):
        self._places = {name: place for place, name in enumerate(numbers)}
        self.variable = keras.Variable(
            np.array([*numbers.values()], "float64"),
            dtype="float64",
            trainable=False,
            name="trials",
        )

    def __getitem__(self, name: str) -> float:
        return float(keras.ops.convert_to_numpy(self.variable)[self._places[name]])

    def assign(self, **numbers: float) -> None:
        values = np.copy(keras.ops.convert_to_numpy(self.variable))
        for name, number in numbers.items():
            values[self._places[name]] = number
        self.variable.assign(values)


class _Again:
    """Data whose epochs are counted from the trial's beginning, so that all trials see the same."""

    def __init__(self, data: Data, began: Callable[[], int]):
        self._data = data
        self._began = began

    def epoch(self, epoch: int, start: int = 0) -> tf.data.Dataset:
        return epoch_of(self._data, epoch - self._began(), start)
