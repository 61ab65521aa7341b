"""What a method gives to the shared loop.

A search is a row of stages. A stage says what one step does and what is to be saved; the loop
(`loop.py`) does the rest: tracing, distribution, progress, records, checkpoints, resuming,
divergence. To add a method, write one `Stage` for each kind of step and run them in turn:

```python
class MyStage(Stage):
    def begin(self, steps):                    # once, in the strategy's scope
        self.optimizer = keras.optimizers.SGD(0.1)
        self.optimizer.build(self.logits)

    def train_step(self, batch):               # traced once, in a replica's context
        return descend(
            batch,
            lambda inputs: self.model(inputs, training=False),
            lambda targets, outputs: {"loss": global_mean(self.task.loss(targets, outputs))},
            [Learned(self.logits, self.optimizer)],
        )

    def state(self):                           # everything that decides the future
        return {"model": self.model.variables, "optimizer": self.optimizer.variables}

records = run_stage(MyStage("my_stage", epochs=10, data=train_data), session)
```

Several optimizers in one step are several `Learned`s, down one loss or each down its own; a stage
that alternates between two data sets takes batches of a zipped data set.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_nas.errors import KerasNasError
from keras_nas.training.step import StepReport

Data = Any
"""A `tf.data.Dataset`, an object with `epoch(e, start)`, or a function of e, that gives one.

With the last two, epoch e's order depends on e alone, so that a resumed run sees the batches that
the unbroken run would have seen. `keras_nas.data.load` gives such objects.
"""


class Stage(abc.ABC):
    """One stage of a search.

    Args:
        name: Names its records, its progress bar and its checkpoints; unique within a run.
        epochs: Passes over `data`.
        data: The batches; see `Data`.
        metrics: Metrics that `train_step` updates; reset before each epoch.

    Attributes:
        flags: What the names of its training settings begin with, for messages; its own name where
            a subclass does not set another.
    """

    def __init__(
        self,
        name: str,
        epochs: int,
        data: Data,
        metrics: Sequence[keras.metrics.Metric] = (),
    ):
        self.name = name
        self.flags = name
        self.epochs = epochs
        self.data = data
        self.metrics = list(metrics)

    def begin(self, steps: int) -> None:  # noqa: B027
        """Builds optimizers and their schedules. `steps` is the number of steps an epoch."""

    @abc.abstractmethod
    def train_step(self, batch) -> StepReport:
        """One step on one replica; see `step.py` for its pieces."""

    @abc.abstractmethod
    def state(self) -> Mapping[str, Sequence[keras.Variable]]:
        """The variables to save, by group; called after `begin`."""

    def replay(self, batch) -> tuple[keras.Model, Any, bool] | None:
        """The model, its inputs and `training`, to look for the layer that went bad in `batch`."""
        return None

    def before_epoch(self, epoch: int) -> None:  # noqa: B027
        """Called before the first step of an epoch (also when it is resumed in its middle)."""

    def before_step(self, epoch: int, step: int, steps: int) -> None:  # noqa: B027
        """Called before each step: the place of schedules that are not the optimizer's."""

    def after_epoch(self, epoch: int) -> dict[str, Any]:
        """Evaluates. Returns JSON-able values for the epoch's record."""
        return {}

    def finished(self, records: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the stage may end before `epochs`; `records` are its epochs so far."""
        return False

    def satisfied(self) -> bool:
        """Whether the epoch may end here, with what the stage is after; asked after each step."""
        return False

    def status(self) -> dict[str, float]:
        """What the bar shows beside the loss and the metrics; called about once a second."""
        return {}

    def histograms(self) -> dict[str, np.ndarray]:
        """Values for TensorBoard's histograms, by tag, after each epoch."""
        return {}

    def images(self) -> dict[str, np.ndarray]:
        """Images for TensorBoard, by tag, after each epoch: uint8 `(n, height, width, 3)`."""
        return {}


def epoch_of(data: Data, epoch: int, start: int = 0) -> tf.data.Dataset:
    """The batches of one epoch, from step `start` on."""
    if hasattr(data, "epoch"):
        return data.epoch(epoch, start)
    if not isinstance(data, tf.data.Dataset):
        if not callable(data):
            raise KerasNasError(
                "Data must be a tf.data.Dataset of batches, an object with `epoch(e, start)` or a "
                f"function of e. Received: {type(data).__name__}"
            )
        data = data(epoch)
    return data.skip(start) if start else data


def steps_of(dataset: tf.data.Dataset) -> int:
    """The number of batches of a finite data set, counted by a pass where it is not known.

    Raises:
        KerasNasError: If the data set is infinite or empty.
    """
    steps = int(dataset.cardinality())
    if steps == tf.data.INFINITE_CARDINALITY:
        raise KerasNasError(
            "The data must end: the data set repeats for ever. Give one epoch of it, for example "
            "`dataset.take(steps)`."
        )
    if steps == tf.data.UNKNOWN_CARDINALITY:
        steps = int(dataset.reduce(np.int64(0), lambda count, *_: count + 1))
    if steps == 0:
        raise KerasNasError(
            "The data must have one batch or more. Received: an empty data set (fewer examples "
            "than a batch, with `drop_remainder`?)"
        )
    return steps


def inputs_of(data: Data) -> Any:
    """The inputs of the first batch of some data."""
    return next(iter(epoch_of(data, 0)))[0]


class MixedData:
    """The batches of two data sets, evenly mixed.

    Worked example: of 4 and 2 batches, the order is 1, 2, 1, 1, 2, 1.
    """

    def __init__(self, first: Data, second: Data):
        self.first, self.second = first, second

    def epoch(self, epoch: int, start: int = 0) -> tf.data.Dataset:
        parts = [epoch_of(self.first, epoch), epoch_of(self.second, epoch)]
        places = [(np.arange(n) + 0.5) / n for n in map(steps_of, parts)]
        owners = np.repeat([0, 1], [len(place) for place in places])
        order = owners[np.argsort(np.concatenate(places), kind="stable")].astype(np.int64)
        choices = tf.data.Dataset.from_tensor_slices(order)
        return tf.data.Dataset.choose_from_datasets(parts, choices).skip(start)
