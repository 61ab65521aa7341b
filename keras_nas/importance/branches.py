"""Whole branches of a trained network that may go: those whose absence costs the least."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_nas import gates, surgery
from keras_nas.architecture import Architecture
from keras_nas.errors import UsageError
from keras_nas.graph import read
from keras_nas.importance.taylor import unreduced
from keras_nas.layers import Gate, ScaledSigmoidGate
from keras_nas.statistics import by_batch, reestimate
from keras_nas.surgery.dependence import Dependence

logger = logging.getLogger(__name__)

JUDGED_ON = 10
"""How many batches branches are judged by."""


@dataclasses.dataclass(frozen=True)
class Branch:
    """A branch that went.

    Attributes:
        layer: The last of its layers that has channels of its own.
        loss: That of the network without it, and without those that went before.
        macs: Those of that network.
    """

    layer: str
    loss: float
    macs: int


@dataclasses.dataclass(frozen=True)
class Shortened:
    """What `shorten` gives.

    Attributes:
        model: The shorter network, of stock layers, its statistics re-estimated.
        loss: That of the whole network on the same batches.
        branches: What went, in the order in which it did.
    """

    model: keras.Model
    loss: float
    branches: tuple[Branch, ...]


Patterns = str | Sequence[str] | None


def removable(
    model: keras.Model, *, include: Patterns = None, exclude: Patterns = None
) -> tuple[str, ...]:
    """The branches of which each by itself may go, by the names of their last layers.

    Args:
        model: A functional or Sequential model.
        include, exclude: As in `shorten`.

    Raises:
        KerasNasError: If the model cannot be gated.
    """
    supernet = gates.insert(model, ScaledSigmoidGate, include=include, exclude=exclude)
    return tuple(_layer(closed[-1]) for closed in _Ways(supernet).further(()))


def shorten(
    model: keras.Model,
    data: Iterable[Any],
    loss: Any,
    *,
    branches: int = 1,
    batches: int = JUDGED_ON,
    include: Patterns = None,
    exclude: Patterns = None,
) -> Shortened:
    """Takes whole branches out of a trained network: residual ones, layers of dense blocks.

    A branch may go where the network still hears its input without it: beside a shortcut, or among
    what is concatenated. One goes after the other, each time the one that raises the loss least for
    the macs that it saves. Losses are those of inference with each batch's own statistics, so that
    BatchNormalizations behind a branch count as they will once they are re-estimated. What is left
    is wider for the same macs and has fewer layers, which small networks spend much of their time
    between. `model` is not changed.

    Example:

    ```python
    shorter = keras_nas.importance.shorten(model, train_data, task.loss, branches=2)
    macs = keras_nas.costs.count(model).macs // 4
    config = DnalConfig(target_macs=macs, weights=TrainConfig(epochs=0))
    result = keras_nas.search.dnal(shorter.model, train_data, config=config)
    ```

    Args:
        model: A trained functional or Sequential model.
        data: Batches `(inputs, targets)`; what follows the targets is not used.
        loss: A Keras loss, its name, or a function of `(targets, outputs)` that returns one number
            an example, or their mean.
        branches: How many go.
        batches: How many batches the losses are of, and the statistics re-estimated on.
        include, exclude: The layers that may go, by names or patterns, as in `gates.insert`.

    Raises:
        UsageError: If `branches` or `batches` is below 1, the network has no branch, or fewer than
            are to go, or `data` has no batch.
        KerasNasError: If the model cannot be gated.
    """
    for name, value in (("branches", branches), ("batches", batches)):
        if value < 1:
            raise UsageError(f"`{name}` must be 1 or more. Received: {name}={value}")
    read_batches = [tuple(batch[:2]) for batch in islice(data, batches)]
    if not read_batches:
        raise UsageError("`data` must have a batch or more to judge branches by. Received: none")
    supernet = gates.insert(model, ScaledSigmoidGate, include=include, exclude=exclude)
    ways = _Ways(supernet)
    judged = _Losses(supernet, loss, read_batches)
    whole = _Without((), judged.of(()), ways.macs(()))
    now, gone = whole, list[Branch]()
    for _ in range(branches):
        found = [
            _Without(closed, judged.of(closed), ways.macs(closed))
            for closed in ways.further(now.closed)
        ]
        if not found and not gone:
            raise UsageError(
                "`model` must have a branch that may go, since a way leads round it. "
                f"Received: '{model.name}', through which all is the only way"
            )
        if not found:
            raise UsageError(
                f"`branches` must be {len(gone)} or less: no more of '{model.name}' may go. "
                f"Received: branches={branches}"
            )
        now = min(found, key=now.price_to)
        gone.append(Branch(_layer(now.closed[-1]), now.loss, now.macs))
        logger.info("without %s: loss %.4g, %d macs", *dataclasses.astuple(gone[-1]))
    _close(supernet, now.closed)
    shorter = surgery.build(supernet, Architecture.from_gates(supernet))
    reestimate(shorter, read_batches)
    return Shortened(shorter, whole.loss, tuple(gone))


@dataclasses.dataclass(frozen=True)
class _Without:
    """The network with some gates closed."""

    closed: tuple[str, ...]
    loss: float
    macs: int

    def price_to(self, other: _Without) -> float:
        """What the loss rises by for each of the macs saved; NaN counts as much."""
        rise = (other.loss - self.loss) / (self.macs - other.macs)
        return math.inf if math.isnan(rise) else rise


class _Ways:
    """The gates of a supernet that may be closed whole."""

    def __init__(self, supernet: keras.Model):
        self._supernet = supernet
        self._gates: dict[str, Gate] = {gate.name: gate for gate in gates.find(supernet)}
        self._dependence = Dependence(read(supernet), self._gates)
        self._left: dict[tuple[str, ...], dict[str, int]] = {}

    def macs(self, closed: tuple[str, ...]) -> int:
        return sum(self._macs_by_layer(closed).values())

    def further(self, closed: tuple[str, ...]) -> list[tuple[str, ...]]:
        """What closing one more branch leaves closed; of the gates of a branch its last."""
        by_layers: dict[frozenset[str], tuple[str, ...]] = {}
        for name in self._gates:
            more = (*closed, name)
            if name in closed or not self._hears(more):
                continue
            left = self._macs_by_layer(more)
            if sum(left.values()) < self.macs(closed):
                by_layers[frozenset(left)] = more
        return list(by_layers.values())

    def _hears(self, closed: tuple[str, ...]) -> bool:
        return self._dependence.holds(
            {name: np.zeros(self._gates[name].channels, bool) for name in closed}
        )

    def _macs_by_layer(self, closed: tuple[str, ...]) -> dict[str, int]:
        """Of the layers that have any."""
        if closed not in self._left:
            _close(self._supernet, closed)
            architecture = Architecture.from_gates(self._supernet)
            costs = surgery.predict_costs(self._supernet, architecture)
            self._left[closed] = {
                name: layer.macs for name, layer in costs.by_layer.items() if layer.macs
            }
        return self._left[closed]


class _Losses:
    """The mean loss on some batches of a supernet, by each batch's statistics; traced once."""

    def __init__(self, supernet: keras.Model, loss: Any, batches: Sequence[Any]):
        self._batches = batches
        self._loss = unreduced(loss)
        self._model = by_batch(supernet)
        self._step = tf.function(self._mean, autograph=False, reduce_retracing=True)

    def of(self, closed: Sequence[str]) -> float:
        _close(self._model, closed)
        return float(np.mean([self._step(*batch) for batch in self._batches]))

    def _mean(self, inputs, targets):
        return tf.reduce_mean(self._loss(targets, self._model(inputs, training=False)))


def _layer(gate: str) -> str:
    """The layer that a gate stands behind, by its name."""
    return gate.removesuffix("_gate")


def _close(supernet: keras.Model, closed: Sequence[str]) -> None:
    """Closes gates whole and opens all others, in mode "hard"."""
    for gate in gates.find(supernet):
        gate.set_mask(np.full(gate.channels, gate.name not in closed))
