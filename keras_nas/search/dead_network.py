"""No search ends with a dead network: one whose output tells nothing of its input."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_nas.architecture import Architecture
from keras_nas.errors import KerasNasError
from keras_nas.search.stage import Data, epoch_of
from keras_nas.statistics import reestimate
from keras_nas.tasks import Task

logger = logging.getLogger(__name__)

BATCHES = 16
"""Batches at most that a network is judged on, as many again that it is prepared with."""
SAME = 1e-6
"""Outputs that differ by less than this share of their size are the same."""
ROWS = 100_000
"""Pixels or examples at most that the readout is fitted to."""
NEARLY = 0.05
"""A gate that keeps no more than this share of its channels is named."""


class DeadNetworkError(KerasNasError):
    """A search has ended with a network that is no better than a constant.

    Attributes:
        architecture: What the search found, for a look at it.
    """

    def __init__(self, message: str, architecture: Architecture):
        super().__init__(message)
        self.architecture = architecture


def check_alive(
    rebuild: Callable[[], keras.Model],
    architecture: Architecture,
    task: Task,
    train: Data,
    held_out: Data | None,
    *,
    value: float | None,
    records: Sequence[Mapping[str, Any]],
    remedy: str,
) -> None:
    """Refuses a network whose outputs are the same for all inputs, or no better than that.

    The task's metric (`monitor`) is compared with that of the best constant output: the most
    frequent class, the mean colour. A network that is above it, by two standard errors, is alive.
    One that is not gets a fair trial before it is refused, since finetuning will do as much: its
    BatchNormalizations' statistics are taken anew from training batches, and what its outputs tell
    is read off them by the best affine function of their channels. And where no record says that
    the search had anything better than a constant, only outputs that are all the same are refused.

    Args:
        rebuild: Makes the small network; it is called only where the trial is needed, and what it
            gives is spoilt.
        architecture: What the search found.
        task: Its `right_outputs` and metrics; without the former, outputs are compared only.
        train: The training data.
        held_out: The data to judge on; None for training batches.
        value: The metric of the small network on `held_out`, where it is known.
        records: Of the search's stages so far.
        remedy: What to do about it, for the message.

    Raises:
        DeadNetworkError: If the network is dead.
    """
    constant = _Constant(task, train if held_out is None else held_out)
    if value is not None and constant.known and value > constant.bar:
        return
    trial = _Trial(rebuild(), task, train, held_out)
    gates = nearly_empty(architecture)
    if trial.outputs_are_equal():
        raise DeadNetworkError(
            f"The search ended with a network whose output is the same for every input. {gates} "
            f"{remedy}",
            architecture,
        )
    before = best_value(records, task.monitor)
    if not constant.known or before is None or before <= 2 * constant.bar - constant.value:
        return
    best = max(trial.values())
    if best <= constant.bar:
        raise DeadNetworkError(
            f"The search ended with a network that is no better than a constant: {task.monitor} is "
            f"{best:.4g}, that of the best constant output {constant.value:.4g}, and {before:.4g} "
            f"was reached before. {gates} {remedy}",
            architecture,
        )


def best_value(records: Sequence[Mapping[str, Any]], monitor: str) -> float | None:
    """The best value of a metric in a search's records, held-out ones first; None for none."""
    for key in (f"val_{monitor}", monitor):
        values = [record[key] for record in records if key in record]
        if values:
            return max(values)
    return None


def nearly_empty(architecture: Architecture) -> str:
    """Which gates keep next to nothing, as a sentence."""
    shares = {
        name: len(kept) / architecture.channels[name]
        for name, kept in architecture.kept_channels.items()
    }
    few = [name for name in sorted(shares, key=shares.__getitem__) if shares[name] <= NEARLY]
    closed = sum(scale == 0 for scale in architecture.kept_edges.values())
    if closed:
        return f"{closed} of {len(architecture.kept_edges)} edges are closed."
    if not few:
        return f"Its gates keep {architecture.kept_share():.1%} of their channels."
    named = ", ".join(
        f"'{name}' {len(architecture.kept_channels[name])} of {architecture.channels[name]}"
        for name in few[:5]
    )
    return f"Gates that keep next to nothing ({len(few)} of {len(shares)}): {named}."


class _Constant:
    """The best that a network without an input could do on some data."""

    def __init__(self, task: Task, data: Data):
        batches = [batch[1] for batch in _batches(data, 0, BATCHES)]
        right = _right_outputs(task, batches)
        self.known = bool(right)
        if not right:
            return
        rows = [outputs.reshape(-1, outputs.shape[-1]) for outputs in right]
        mean = np.sum([row.sum(axis=0) for row in rows], axis=0) / sum(map(len, rows))
        mean = mean + 1e-6 * np.arange(len(mean), 0, -1)  # of classes as frequent, the first
        outputs = [np.broadcast_to(mean, x.shape).astype("float32") for x in right]
        self.value = _metric(task, batches, outputs)
        self.bar = self.value + _standard_errors(self.value, sum(map(len, batches)))
        """A metric above it is better than a constant."""


class _Trial:
    """A network's outputs once it has been made ready for finetuning."""

    def __init__(self, model: keras.Model, task: Task, train: Data, held_out: Data | None):
        self._task = task
        fitted = _batches(train, 0, BATCHES)
        half = max(1, len(fitted) // 2)
        judged = fitted[half:] or fitted if held_out is None else _batches(held_out, 0, BATCHES)
        self._fitted = fitted[:half] if held_out is None else fitted
        reestimate(model, fitted)
        predict = tf.function(lambda x: model(x, training=False), reduce_retracing=True)
        self._fitted_outputs = [_numpy(predict(batch[0])) for batch in self._fitted]
        self._targets = [batch[1] for batch in judged]
        self._outputs = [_numpy(predict(batch[0])) for batch in judged]

    def outputs_are_equal(self) -> bool:
        """Whether all examples have the same outputs."""
        columns = zip(*(keras.tree.flatten(x) for x in self._fitted_outputs), strict=True)
        return all(_are_equal(outputs) for outputs in columns)

    def values(self) -> list[float]:
        """The metric of the outputs, and of what the best affine function reads off them."""
        right = _right_outputs(self._task, [batch[1] for batch in self._fitted])
        read = _readout(self._fitted_outputs, right)
        return [
            _metric(self._task, self._targets, outputs)
            for outputs in (self._outputs, [read(x) for x in self._outputs])
        ]


def _batches(data: Data, start: int, count: int) -> list[Any]:
    return list(itertools.islice(epoch_of(data, 0), start, start + count))


def _right_outputs(task: Task, batches: Sequence[Any]) -> list[np.ndarray]:
    """The right outputs of batches of targets; none where the task has no such thing."""
    found = [task.right_outputs(targets) for targets in batches]
    return [outputs for outputs in found if outputs is not None]


def _numpy(outputs: Any) -> Any:
    return keras.tree.map_structure(
        lambda x: keras.ops.convert_to_numpy(keras.ops.cast(x, "float32")), outputs
    )


def _metric(task: Task, targets: Sequence[Any], outputs: Sequence[Any]) -> float:
    (metric,) = [metric for metric in task.metrics() if metric.name == task.monitor]
    for batch, made in zip(targets, outputs, strict=True):
        metric.update_state(batch, tf.convert_to_tensor(made))
    return float(metric.result())


def _standard_errors(value: float, count: int) -> float:
    """Two standard errors of a share of `count` examples; of another metric, 2 % of it."""
    if 0 <= value <= 1:
        return 2 * float(np.sqrt(value * (1 - value) / count))
    return 0.02 * abs(value)


def _are_equal(batches: Sequence[np.ndarray]) -> bool:
    """Whether the examples of batches are equal, as far as their shapes can be compared."""
    by_shape: dict[tuple[int, ...], list[np.ndarray]] = {}
    for batch in batches:
        by_shape.setdefault(batch.shape[1:], []).append(batch)
    for same in by_shape.values():
        rows = np.concatenate(same)
        if np.ptp(rows, axis=0).max(initial=0.0) > SAME * np.abs(rows).max(initial=0.0):
            return False
    return any(sum(map(len, same)) > 1 for same in by_shape.values())


def _readout(outputs: Sequence[np.ndarray], right: Sequence[np.ndarray]):
    """The affine function of the outputs' channels that is nearest to what is right."""
    x, y = (
        np.concatenate([batch.reshape(-1, batch.shape[-1]) for batch in batches])
        for batches in (outputs, right)
    )
    step = -(-len(x) // ROWS)
    x, y = x[::step], y[::step]
    center = x.mean(axis=0)
    solution, *_ = np.linalg.lstsq(_with_ones(x - center), y, rcond=1e-6)
    return lambda batch: (_with_ones(batch - center) @ solution).astype("float32")


def _with_ones(x: np.ndarray) -> np.ndarray:
    return np.concatenate([x, np.ones_like(x[..., :1])], axis=-1).astype("float64")
