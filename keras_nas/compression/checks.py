"""What is wrong with a compression's arguments, found before anything is trained."""

from __future__ import annotations

import os
from numbers import Integral
from typing import Any

import keras

from keras_nas.choices import FORMS_OF
from keras_nas.compression.config import CompressConfig
from keras_nas.compression.data_checks import FIRST, shown_kind
from keras_nas.compression.outcome import costs_of
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.graph import read
from keras_nas.search.dead_network import ConstantOutput
from keras_nas.targets import parse_target
from keras_nas.tasks import Task
from keras_nas.training.evaluation import Evaluator
from keras_nas.training.session import Session
from keras_nas.training.stage import Data, epoch_of


def check_model(model: Any) -> None:
    """Refuses what is no functional or Sequential model.

    Raises:
        UsageError: It is no model.
        KerasNasError: Its graph cannot be read.
    """
    if not isinstance(model, keras.Model):
        advice = ""
        if isinstance(model, (str, os.PathLike)):
            advice = ": load it by keras_nas.load_model"
        elif isinstance(model, type):
            advice = ": make one of the class"
        elif hasattr(model, "signatures"):
            advice = ": what tf.saved_model.load gives has no layers, load the .keras file"
        raise UsageError(f"`model` must be a keras.Model{advice}. Received: {shown_kind(model)}")
    read(model)


def check_kinds(batch_size: Any, task: Any, session: Any) -> None:
    """Raises `UsageError` where one of these arguments of `compress` is of another kind."""
    if not isinstance(batch_size, Integral):
        raise UsageError(f"`batch_size` must be a whole number. Received: {shown_kind(batch_size)}")
    if not isinstance(task, (Task, type(None))):
        raise UsageError(
            "`task` must be one of keras_nas.tasks, such as keras_nas.tasks.Regression(). "
            f"Received: {shown_kind(task)}"
        )
    if not isinstance(session, (Session, type(None))):
        raise UsageError(
            "`session` must be a keras_nas.search.Session, such as Session('folder'). "
            f"Received: {shown_kind(session)}"
        )


def check_is_less(model: keras.Model, config: CompressConfig, shape: tuple[int, ...]) -> None:
    """Refuses a budget that a network keeps to as it is.

    Args:
        model: The network.
        config: What is asked for.
        shape: As in `outcome_of`.

    Raises:
        UsageError: All of it holds already.
    """
    if "latency_ms" in config.targets:  # whose table may not know the network
        return
    full = costs_of(model, config, shape)
    for what, value in config.targets.items():
        asked = parse_target(f"target_{what}", value, forms=FORMS_OF.get(what, ()))
        if asked.of(full[what]) < full[what]:
            return
    costs = ", ".join(f"{what} {full[what]:,.0f}" for what in config.targets)
    raise UsageError(
        f"The budget must be below what model '{model.name}' costs ({costs}), or there is nothing "
        f"to do. Received: {', '.join(f'{k}={v!r}' for k, v in config.targets.items())}"
    )


def check_alike(
    model: keras.Model,
    task: Task,
    train: Data,
    before: dict[str, float],
    constant: ConstantOutput,
) -> None:
    """Refuses training data that a network knows nothing of, though it does of the held-out.

    Args:
        model, task: The network and its task.
        train: The training data.
        before: The network's metrics on the held-out data.
        constant: What the best constant output is worth there.

    Raises:
        KerasNasError: On the first training batches it is no better than a constant.
    """
    if not constant.known:
        return
    value = Evaluator(model, task, epoch_of(train, 0).take(FIRST))()[task.monitor]
    if not value > constant.value:
        raise KerasNasError(
            f"`train` must be made as `validation` is: model '{model.name}' has {task.monitor} "
            f"{value:.4g} on its first {FIRST} batches, and {before[task.monitor]:.4g} on "
            "`validation`. Bring its inputs into the same range (0..255, 0..1), and its classes "
            "into the same order"
        )
