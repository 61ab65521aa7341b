"""What a task is to the loops: a loss for each example, and metrics."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_nas.data.task_data import DataSet
from keras_nas.errors import UsageError

Shape = tuple[int | None, ...]


class Task(abc.ABC):
    """The loss and the metrics of a task.

    The loops average `loss` over the global batch; metrics are Keras metrics, which add up over
    batches and replicas.
    """

    monitor: str
    """The name of the metric that is shown and compared."""
    smooths_labels = False
    """Whether `for_data` takes a `label_smoothing`."""
    has_unit = False
    """Whether targets have a unit that the loss's gradient grows with."""

    @classmethod
    def for_data(cls, data: DataSet, model: keras.Model) -> Task:
        """The task of a network on data of this task.

        Raises:
            KerasNasError: The network's output does not fit the data.
        """
        raise NotImplementedError(f"{cls.__name__} is no task of a data set.")

    @classmethod
    def baselines(cls, data: DataSet) -> dict[str, dict[str, float]]:
        """Metrics by name, by the name of what reaches them on `data.test` without a network."""
        return {}

    def check_fits(self, data: DataSet, model: keras.Model, where: str) -> None:  # noqa: B027
        """Compares a network with the data beyond its input, by shapes alone.

        Args:
            data: Data of this task.
            model: The network.
            where: How a message begins.

        Raises:
            UsageError: The network gives something else than the data has.
        """

    def check_targets(self, targets: Any, outputs: Shape, where: str) -> None:  # noqa: B027
        """Looks at a batch of targets, and at the shape of the outputs that they are for.

        Args:
            targets: A batch of targets, as NumPy arrays.
            outputs: The shape of the model's output, the batch axis included.
            where: What the targets are of, as a message begins.

        Raises:
            UsageError: No loss can be computed from them, or none that means anything.
        """

    @abc.abstractmethod
    def loss(self, targets, outputs):
        """The loss of each example.

        Args:
            targets: A batch of targets.
            outputs: The model's outputs for the batch.

        Returns:
            float32 tensor of shape `(batch,)`.
        """

    @abc.abstractmethod
    def metrics(self) -> list[keras.metrics.Metric]:
        """Fresh metrics, each with `update_state(targets, outputs)`; one is named `monitor`."""

    def distill_loss(self, taught, outputs, temperature: float):
        """How far each example's outputs are from those of a teacher.

        Args:
            taught: The teacher's outputs for a batch.
            outputs: The network's, alike.
            temperature: What softens both, where the task has classes.

        Returns:
            float32 tensor of shape `(batch,)`.

        Raises:
            UsageError: If the task does not say.
        """
        raise UsageError(
            f"{type(self).__name__} does not say how far outputs are from a teacher's: give it "
            "`distill_loss`, or learn from `features` alone, with weight=0."
        )

    def check_teacher(self, teacher: keras.Model, model: keras.Model) -> None:  # noqa: B027
        """Compares a teacher with the network that learns from it, beyond their shapes.

        Raises:
            UsageError: Their outputs mean different things.
        """

    def right_outputs(self, targets: Any) -> np.ndarray | None:
        """The outputs that would be right, such as the classes' one-hot code.

        Their mean over a data set is what the best network would give that sees no input: a search
        that ends no better than it has ended with a dead network.

        Args:
            targets: A batch of targets.

        Returns:
            Float `(batch, ..., channels)`, shaped as the model's outputs; zeros where an element
            does not count. None where a task has no such thing.
        """
        return None

    def images(self, inputs: Any, targets: Any, predict: Callable[[Any], Any]) -> np.ndarray | None:
        """A held-out batch as images to look at, beside what the model makes of it.

        Args:
            inputs: A batch of inputs.
            targets: Its targets.
            predict: Gives the model's outputs for inputs; called only where they are shown.

        Returns:
            uint8 `(images, height, width, 3)`, or None: classification has none to show.
        """
        return None


def check_labels(labels: np.ndarray, classes: int, where: str, ignored: int | None = None) -> None:
    """Refuses labels that are no whole numbers from 0 to `classes` − 1.

    Args:
        labels: Of any shape.
        classes: How many there are.
        where: What the labels are of, as a message begins.
        ignored: A label besides, which does not count; None for none.

    Raises:
        UsageError: Names the first other label.
    """
    if labels.dtype.kind not in "fiub":
        raise UsageError(
            f"{where} must have labels that are numbers, such as np.unique(y, return_inverse=True)"
            f"[1]. Received: labels of dtype {labels.dtype}"
        )
    values = labels.astype("float64").reshape(-1)
    right = (values >= 0) & (values < classes) & (values == np.floor(values))
    if ignored is not None:
        right |= values == ignored
    if right.all():
        return
    first = values[~right][0]
    advice = " and no 0: count from 0, as y - 1" if first == classes and values.min() > 0 else ""
    raise UsageError(
        f"{where} must have whole numbers from 0 to {classes - 1} as labels, since the task has "
        f"{classes} classes. Received: {first:g}{advice}"
    )


def fits(given: Shape, wanted: Shape) -> bool:
    """Whether two shapes are one, where both say a size."""
    return len(given) == len(wanted) and all(
        a is None or b is None or a == b for a, b in zip(given, wanted, strict=True)
    )


def check_numbers(targets: np.ndarray, outputs: Shape, where: str) -> None:
    """Raises `UsageError` unless targets are numbers in the shape of the outputs."""
    if targets.dtype.kind not in "fiub" or not fits(targets.shape[1:], outputs[1:]):
        raise UsageError(
            f"{where} must have numbers of {shown_shape(outputs[1:])} an example as targets, as "
            f"the model gives. Received: {shown_shape(targets.shape[1:])} of {targets.dtype}"
        )


def shown_shape(shape: tuple) -> str:
    """A shape as text, such as "any×any×3"."""
    return "×".join("any" if size is None else str(size) for size in shape) or "no axis"


def check_classes(model: keras.Model, classes: int, where: str) -> None:
    """Raises `UsageError` unless a network gives `classes`, or one output for two."""
    channels = model.outputs[0].shape[-1]
    if channels != classes and not (channels == 1 and classes == 2):
        raise UsageError(f"{where} gives {channels} classes, and the data has {classes}.")
