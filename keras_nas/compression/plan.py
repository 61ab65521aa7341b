"""What a compression will do and how long that takes, found out and said before it starts."""

from __future__ import annotations

import dataclasses
import math
import time

import keras
import tensorflow as tf

from keras_nas.compression.config import CompressConfig
from keras_nas.compression.learning_rate import find_rate
from keras_nas.compression.pace import Pace, measure_pace
from keras_nas.compression.recipe import Recipe, make_recipe, shown_epochs
from keras_nas.costs import count
from keras_nas.errors import KerasNasError
from keras_nas.importance import removable
from keras_nas.search.dead_network import ConstantOutput
from keras_nas.search.method import Context, Method
from keras_nas.search.registry import make_method
from keras_nas.targets import parse_target
from keras_nas.tasks import Task
from keras_nas.training.stage import Data

SMALL_SHARE = 0.5
"""The share of the macs that the small network is expected to have under another budget."""


@dataclasses.dataclass(frozen=True)
class CompressPlan:
    """What will be done.

    Attributes:
        recipe: The method and its settings.
        before: Loss and metrics of the network as it is, on held-out data.
        pace: How long its training takes.
        search_seconds, finetune_seconds: How long the two stages will take, about.
    """

    recipe: Recipe
    before: dict[str, float]
    pace: Pace
    search_seconds: float
    finetune_seconds: float

    def lines(self) -> list[str]:
        """What is said before the start."""
        recipe = self.recipe
        return [
            *recipe.reasons,
            f"Time: {shown_seconds(self.search_seconds)} for the search "
            f"({shown_epochs(recipe.search_epochs)} of {self.pace.steps:,} steps), "
            f"{shown_seconds(self.finetune_seconds)} for finetuning ({recipe.finetune_epochs}), "
            "about.",
        ]


def make_plan(
    model: keras.Model,
    config: CompressConfig,
    task: Task,
    train: Data,
    before: dict[str, float],
    constant: ConstantOutput,
    *,
    validation: Data | None = None,
    shape: tuple[int, ...] = (),
    reserved: float = 0.0,
) -> CompressPlan:
    """Looks at a network, its data and a budget, and decides how to get there.

    The network's gates are put in and the budget is checked against what can be reached, and a copy
    trains for a few steps, which tell the learning rate and the time; the network itself is not
    changed.

    Args:
        model: The trained network.
        config: What is asked for.
        task: Loss and metrics.
        train: The training data.
        before: The network's loss and metrics on held-out data.
        constant: What the best constant output is worth on that; see `check_trained`.
        validation: What is evaluated after each epoch; None for nothing.
        shape: As in `make_recipe`.
        reserved: Seconds of the limit that are for something else than training.

    Raises:
        KerasNasError: The network cannot be gated.
        UsageError: The budget or the limit of time is out of reach.
    """
    began = time.monotonic()
    method, supernet = _check_reach(model, config, task, train, shape)
    with tf.distribute.get_strategy().scope():
        copy = method.original(supernet)
    slower = ""
    if constant.known and not config.learning_rate:
        rate = find_rate(
            copy, train, task, method.config.finetune, before[task.monitor], constant.value
        )
        config = dataclasses.replace(config, learning_rate=rate.value)
        slower = rate.reason(task.monitor)
    pace = measure_pace(copy, train, validation, task)
    there = len(removable(model)) if config.branches else 0
    judging = pace.judging_seconds(config.branches, there)
    share, taught = _macs_share(config, model, shape), bool(config.distill_weight)
    epochs = config.epochs
    if config.minutes and not epochs:
        besides = reserved + judging + time.monotonic() - began
        epochs = pace.epochs_within(60 * config.minutes, besides, share, taught)
    recipe = make_recipe(config, is_normalized(model), epochs, shape, task.has_unit)
    if slower:
        recipe = dataclasses.replace(recipe, reasons=(*recipe.reasons, slower))
    return CompressPlan(
        recipe, before, pace,
        judging + pace.search_seconds(recipe.search_epochs),
        pace.finetune_seconds(recipe.finetune_epochs, share, taught),
    )  # fmt: skip


def check_trained(
    model: keras.Model, values: dict[str, float], task: Task, held_out: Data
) -> ConstantOutput:
    """Refuses a network that is not trained, or whose data are not what it was trained on.

    Args:
        model: The network.
        values: Its metrics on the data.
        task, held_out: What they were found with.

    Returns:
        What the best constant output is worth.

    Raises:
        KerasNasError: It is no better than the best constant output, or its loss is no number.
    """
    if not math.isfinite(values["loss"]):
        raise KerasNasError(
            f"Model '{model.name}' has the loss {values['loss']} on these data: NaN or infinity is "
            "among its weights or in the data. Mend or leave out what holds it."
        )
    constant = ConstantOutput(task, held_out)
    if constant.known and constant.value == 1:
        raise KerasNasError(
            f"Model '{model.name}' cannot be judged on these data, whose first batches are all of "
            "one class: shuffle them, or give those of all classes."
        )
    if constant.known and values[task.monitor] <= constant.bar:
        raise KerasNasError(
            f"Model '{model.name}' is no better than a constant on these data: its {task.monitor} "
            f"is {values[task.monitor]:.4g}, and {constant.value:.4g} can be had without looking. "
            "Train it first; or the pictures' range (`pixels`) or the order of the classes is not "
            "what it was trained with."
        )
    return constant


def is_normalized(model: keras.Model) -> bool:
    """Whether a network has BatchNormalization, in nested models too."""
    layers = model._flatten_layers(include_self=False)
    return any(isinstance(layer, keras.layers.BatchNormalization) for layer in layers)


def _check_reach(
    model: keras.Model, config: CompressConfig, task: Task, train: Data, shape: tuple[int, ...]
) -> tuple[Method, keras.Model]:
    recipe = make_recipe(config, is_normalized(model), shape=shape, has_unit=task.has_unit)
    method = make_method(recipe.method, recipe.settings)
    with tf.distribute.get_strategy().scope():
        supernet = method.make_supernet(model, from_file=True)
        method.check(supernet, Context(task, train))
    return method, supernet


def _macs_share(config: CompressConfig, model: keras.Model, shape: tuple[int, ...]) -> float:
    for what in ("macs", "flops"):
        value = config.targets.get(what)
        if value is not None:
            full = getattr(count(model, shape or None), what)
            return min(1.0, parse_target(f"target_{what}", value).of(full) / full)
    return SMALL_SHARE


def shown_seconds(seconds: float) -> str:
    """`45 s`, `12 min`."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
