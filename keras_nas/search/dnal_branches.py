"""DNAL's stage 2 in the network that whole branches have left first."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_nas import gates, importance
from keras_nas.choices import FORMS_OF
from keras_nas.errors import UsageError
from keras_nas.graph import read
from keras_nas.graph.state import copy_state
from keras_nas.layers import Gate
from keras_nas.search.dnal_config import DnalConfig
from keras_nas.search.method import Context, GatedMethod, Records
from keras_nas.search.steering import budget_of
from keras_nas.targets import parse_target
from keras_nas.training.progress import make_progress
from keras_nas.training.stage import epoch_of


def check_branches(supernet: keras.Model, method: GatedMethod) -> None:
    """Raises `UsageError` where fewer branches may go than are to, or gates would not fit."""
    config = method.config
    model = method.original(supernet)
    there = importance.removable(model, **_chosen(config))
    if config.branches > len(there):
        raise UsageError(
            f"`branches` must be {len(there)} or less, the branches of '{model.name}' that a way "
            f"leads round. Received: branches={config.branches}"
        )
    found = {gate.name for gate in gates.find(method.make_supernet(model))}
    own = sorted({gate.name for gate in gates.find(supernet)} ^ found)
    if own:
        raise UsageError(
            "`branches` needs a model without gates of its own, or with those that the settings "
            f"put in. Received: '{supernet.name}', of which gate '{own[0]}' is another"
        )


def learn_shorter(method: GatedMethod, supernet: keras.Model, context: Context) -> Records:
    """Takes `config.branches` branches out, learns the channels of what is left, and hands it back.

    The branches are those that `keras_nas.importance.shorten` chooses on the training data. The
    stage runs on a supernet of the shorter network, to the targets of the whole one; then
    `supernet` gets its weights and masks, with the gates of the branches closed, and so computes
    the same.

    Args:
        method: A DNAL.
        supernet: Its supernet of the whole network.
        context: As in `Method.learn`.
    """
    config = method.config
    settings = {"branches": 0, **_numbers(supernet, config)}
    inner_method = type(method)(dataclasses.replace(config, **settings))  # type: ignore[call-arg]
    with tf.distribute.get_strategy().scope():
        shorter = importance.shorten(
            method.original(supernet), epoch_of(context.all_data(), 0), context.task.loss,
            branches=config.branches, **_chosen(config),
        )  # fmt: skip
        inner = inner_method.make_supernet(shorter.model)
    gone = ", ".join(branch.layer for branch in shorter.branches)
    make_progress(context.session.progress).say(
        f"Without the branches that end with {gone}: loss {shorter.branches[-1].loss:.4g}, "
        f"of the whole network {shorter.loss:.4g}."
    )
    records = inner_method.learn(inner, context)
    _hand_over(inner, supernet)
    return records


def _chosen(config: DnalConfig) -> dict[str, Any]:
    return {"include": list(config.include) or None, "exclude": list(config.exclude) or None}


def _numbers(supernet: keras.Model, config: DnalConfig) -> dict[str, float | str]:
    """The targets as numbers: a share of them is of the whole network."""
    if not config.targets:
        return {}
    full = budget_of(supernet, config).full
    found: dict[str, float | str] = {}
    for what, value in config.targets.items():
        target = parse_target(f"target_{what}", value, forms=FORMS_OF.get(what, ()))
        number = target.of(full[what])
        found[f"target_{what}"] = f"{target.form}:{number:.0f}" if target.form else number
    return found


def _hand_over(inner: keras.Model, supernet: keras.Model) -> None:
    """Gives a supernet the weights and the hard gates of one that lacks some of its branches."""
    learned = _layers(inner)
    for name, layer in _layers(supernet).items():
        if isinstance(layer, Gate):
            closed = -np.ones(layer.channels, "float32")
            layer.assign_scores(learned[name].scores() if name in learned else closed)
        elif name in learned and learned[name].weights:
            copy_state(learned[name], layer)
    gates.set_mode(supernet, "hard")


def _layers(supernet: keras.Model) -> dict[str, Any]:
    """By name, the layers that the graph calls."""
    return {
        node.operation_name: node.operation
        for node in read(supernet).nodes
        if isinstance(node.operation, keras.layers.Layer)
    }
