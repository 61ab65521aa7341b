"""Classification: cross-entropy, top-1 and top-5."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_nas.errors import UsageError
from keras_nas.graph import read
from keras_nas.tasks.task import Task


class Classification(Task):
    """Softmax cross-entropy with label smoothing; top-1 and top-5.

    Targets are integer classes `(batch,)` or `(batch, 1)`, or distributions `(batch, classes)`
    (mixup and the like). Outputs are `(batch, classes)`, of any float dtype: the loss is computed
    in float32.

    Example:

    ```python
    task = keras_nas.tasks.Classification.of(model, label_smoothing=0.1)
    ```

    Args:
        classes: Number of classes, 2 or more.
        from_logits: True if the model ends without a softmax.
        label_smoothing: ε: the true class gets 1 − ε + ε / classes. From 0 to below 1.

    Raises:
        UsageError: If an argument is out of its range.
    """

    monitor = "top1"

    def __init__(self, classes: int, from_logits: bool = True, label_smoothing: float = 0.0):
        if classes < 2:
            raise UsageError(f"`classes` must be 2 or more. Received: classes={classes}")
        if not 0 <= label_smoothing < 1:
            raise UsageError(
                "`label_smoothing` must be from 0 to below 1. "
                f"Received: label_smoothing={label_smoothing}"
            )
        self.classes = classes
        self.from_logits = from_logits
        self.label_smoothing = label_smoothing

    @classmethod
    def of(cls, model: keras.Model, label_smoothing: float = 0.0) -> Classification:
        """The classification task of a model with one output `(batch, classes)`.

        Outputs are taken for probabilities if the layer that makes them is a softmax, or has
        softmax as its activation; else for logits.

        Raises:
            UsageError: If the model has another output.
        """
        if len(model.outputs) != 1 or len(model.outputs[0].shape) != 2:
            shapes = [tuple(output.shape) for output in model.outputs]
            raise UsageError(
                f"Classification needs a model with one output (batch, classes): give `task` for "
                f"model '{model.name}'. Received: outputs of shapes {shapes}"
            )
        return cls(model.outputs[0].shape[-1], not _ends_in_softmax(model), label_smoothing)

    def loss(self, targets, outputs):
        outputs = ops.cast(outputs, "float32")
        if self._sparse(targets):
            targets = ops.reshape(targets, (-1,))
            if not self.label_smoothing:
                return keras.losses.sparse_categorical_crossentropy(
                    targets, outputs, from_logits=self.from_logits
                )
            targets = ops.one_hot(targets, self.classes)
        return keras.losses.categorical_crossentropy(
            targets,
            outputs,
            from_logits=self.from_logits,
            label_smoothing=self.label_smoothing,
        )

    def metrics(self):
        """Top-1, and top-5 where there are more than five classes."""
        metrics: list[keras.metrics.Metric] = [_TopK(1, name="top1")]
        if self.classes > 5:
            metrics.append(_TopK(5, name="top5"))
        return metrics

    def right_outputs(self, targets):
        if self._sparse(targets):
            targets = ops.one_hot(ops.reshape(targets, (-1,)), self.classes)
        return ops.convert_to_numpy(targets)

    def _sparse(self, targets) -> bool:
        return len(targets.shape) == 1 or targets.shape[-1] == 1


def is_among_largest(targets, outputs, k: int):
    """Whether the output of an example's class is among the `k` largest; ties count against it.

    Worked example: of outputs (2, 2, 1), class 0 is not the largest, but among the two largest. A
    network that gives every class the same is right nowhere.

    Args:
        targets: integer classes `(batch,)`.
        outputs: `(batch, classes)`.

    Returns:
        bool tensor `(batch,)`; False where the class's output is not a number.
    """
    outputs = ops.cast(outputs, "float32")
    chosen = ops.cast(ops.one_hot(targets, outputs.shape[-1]), "bool")
    own = ops.max(ops.where(chosen, outputs, -np.inf), axis=-1, keepdims=True)
    not_below = ops.sum(ops.cast(outputs >= own, "int32"), axis=-1)
    return ops.logical_and(not_below >= 1, not_below <= k)


class _TopK(keras.metrics.Mean):
    """Share of the examples whose class is among the `k` largest outputs, ties against it."""

    def __init__(self, k: int, name: str):
        super().__init__(name=name)
        self.k = k

    def update_state(self, targets, outputs, sample_weight=None):
        if len(targets.shape) == 2 and targets.shape[-1] != 1:
            targets = ops.argmax(targets, axis=-1)
        targets = ops.cast(ops.reshape(targets, (-1,)), "int32")
        hits = is_among_largest(targets, outputs, self.k)
        return super().update_state(ops.cast(hits, "float32"), sample_weight)


def _ends_in_softmax(model: keras.Model) -> bool:
    last = read(model).outputs[0].producer
    if last is None:
        return False
    if type(last.operation).__name__ == "Softmax":
        return True
    return getattr(last.operation, "activation", None) is keras.activations.softmax
