"""No search ends with a dead network: one whose output tells nothing of its input."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_nas.architecture import Architecture
from keras_nas.errors import KerasNasError
from keras_nas.statistics import reestimate
from keras_nas.tasks import Task
from keras_nas.training.stage import Data, epoch_of

BATCHES = 16
"""Batches at most that a network is judged on, as many again that it is prepared with."""
ELEMENTS = 50_000_000
"""Numbers in the inputs of these batches, about, at most."""
SAME = 1e-6
"""Outputs that differ by less than this share of their size are the same."""
ROWS = 100_000
"""Pixels or examples at most that the readout is fitted to."""
NOISE = 0.25
"""What a dead network's metric may be above a constant's by chance, of two standard errors."""
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
    frequent class, the mean colour. A network that is above it by two standard errors is alive. One
    that is not gets a fair trial before it is refused, since finetuning will do as much: its
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
    constant = ConstantOutput(task, train if held_out is None else held_out)
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
    if best <= constant.value + NOISE * (constant.bar - constant.value):
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


class ConstantOutput:
    """The best that a network without an input could do on some data.

    Attributes:
        known: Whether the task says what would be right.
        value: The metric.
        bar: What a metric must be above to be better.
    """

    def __init__(self, task: Task, data: Data):
        targets = [batch[1] for batch in _batches(data)]
        total, count = 0.0, 0
        for batch in targets:
            right = task.right_outputs(batch)
            self.known = right is not None
            if right is None:
                return
            total = total + right.reshape(-1, right.shape[-1]).sum(axis=0, dtype="float64")
            count += right[..., 0].size
        mean = np.asarray(total) / count
        mean = mean + 1e-6 * np.arange(len(mean), 0, -1)  # of classes as frequent, the first
        metric = _monitored(task)
        for batch in targets:
            shape = _right_outputs(task, batch).shape
            metric.update_state(batch, tf.constant(np.broadcast_to(mean, shape), tf.float32))
        self.value = float(metric.result())
        self.bar = self.value + _standard_errors(self.value, sum(map(len, targets)))


class _Trial:
    """A network once it has been made ready for finetuning."""

    def __init__(self, model: keras.Model, task: Task, train: Data, held_out: Data | None):
        self._task = task
        batches = _batches(train)
        reestimate(model, batches)
        self._predict = tf.function(lambda x: model(x, training=False), reduce_retracing=True)
        if held_out is None:
            half = max(1, len(batches) // 2)
            self._fitted, self._judged = batches[:half], batches[half:] or batches
        else:
            self._fitted, self._judged = batches, _batches(held_out)

    def outputs_are_equal(self) -> bool:
        """Whether all training examples have the same outputs, as far as shapes can be compared."""
        ranges: dict[tuple[int, ...], tuple[np.ndarray, np.ndarray, int]] = {}
        for batch in self._fitted:
            for place, rows in enumerate(keras.tree.flatten(self._outputs(batch))):
                low, high, count = rows.min(axis=0), rows.max(axis=0), len(rows)
                key = (place, *low.shape)
                if key in ranges:
                    before = ranges[key]
                    low, high = np.minimum(low, before[0]), np.maximum(high, before[1])
                    count += before[2]
                ranges[key] = low, high, count
        compared = [(low, high) for low, high, count in ranges.values() if count > 1]
        return bool(compared) and all(
            (high - low).max(initial=0.0) <= SAME * max(np.abs(low).max(), np.abs(high).max())
            for low, high in compared
        )

    def values(self) -> list[float]:
        """The metric of the outputs, and of what the best affine function reads off them."""
        read = self._readout()
        raw, off = _monitored(self._task), _monitored(self._task)
        for batch in self._judged:
            outputs = self._outputs(batch)
            raw.update_state(batch[1], tf.constant(outputs))
            off.update_state(batch[1], tf.constant(read(outputs)))
        return [float(metric.result()) for metric in (raw, off)]

    def _outputs(self, batch) -> Any:
        return keras.tree.map_structure(
            lambda x: keras.ops.convert_to_numpy(keras.ops.cast(x, "float32")),
            self._predict(batch[0]),
        )

    def _readout(self) -> Callable[[np.ndarray], np.ndarray]:
        """The affine function of the outputs' channels that is nearest to what is right."""
        rows, wanted = [], []
        for batch in self._fitted:
            outputs, right = self._outputs(batch), _right_outputs(self._task, batch[1])
            step = -(-outputs[..., 0].size * len(self._fitted) // ROWS)
            rows.append(outputs.reshape(-1, outputs.shape[-1])[::step])
            wanted.append(right.reshape(-1, right.shape[-1])[::step])
        x = np.concatenate(rows)
        center = x.mean(axis=0)
        solution, *_ = np.linalg.lstsq(_with_ones(x - center), np.concatenate(wanted), rcond=1e-6)
        return lambda outputs: (_with_ones(outputs - center) @ solution).astype("float32")


def _batches(data: Data) -> list[Any]:
    """The first batches of some data, at most `BATCHES`, and `ELEMENTS` numbers of inputs."""
    found, elements = [], 0
    for batch in itertools.islice(epoch_of(data, 0), BATCHES):
        found.append(batch)
        elements += sum(int(np.prod(x.shape)) for x in keras.tree.flatten(batch[0]))
        if elements > ELEMENTS:
            break
    return found


def _right_outputs(task: Task, targets: Any) -> np.ndarray:
    """Those of a task that has such a thing."""
    right = task.right_outputs(targets)
    assert right is not None
    return right


def _monitored(task: Task) -> keras.metrics.Metric:
    (metric,) = [metric for metric in task.metrics() if metric.name == task.monitor]
    return metric


def _standard_errors(value: float, count: int) -> float:
    """Two standard errors of a share of `count` examples; of another metric, 2 % of it."""
    if 0 <= value <= 1:
        return 2 * float(np.sqrt(value * (1 - value) / count))
    return 0.02 * abs(value)


def _with_ones(x: np.ndarray) -> np.ndarray:
    return np.concatenate([x, np.ones_like(x[..., :1])], axis=-1).astype("float64")
