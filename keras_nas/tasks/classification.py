"""Classification: softmax or binary cross-entropy by how the network ends, top-1 and top-5."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_nas.errors import UsageError
from keras_nas.graph import Node, kinds, read
from keras_nas.tasks.soft_targets import (
    sigmoid_divergence,
    sigmoid_logits,
    softmax_divergence,
    softmax_logits,
)
from keras_nas.tasks.task import Task, check_classes, check_labels, shown_shape

_HEAD_INPUTS = np.array([[-1.0, 0.5, 2.0]], "float32")
_MOVING = frozenset(
    "Flatten Reshape Dropout Identity ActivityRegularization ops.Reshape ops.Squeeze ops.Cast "
    "ops.Identity".split()
)
_ACTIVATION_LAYERS = ("Softmax", "Activation")
"""Layers that may be tried as an activation: they hold no weights."""
_HEADS: dict[str, Callable] = {"softmax": ops.softmax, "sigmoid": ops.sigmoid}


class Classification(Task):
    """Cross-entropy of one class out of many, or of yes or no for each output; top-1 and top-5.

    With a softmax (or logits): softmax cross-entropy with label smoothing. Targets are integer
    classes `(batch,)` or `(batch, 1)`, or distributions `(batch, classes)` (mixup and the like).

    With sigmoids: the mean of the outputs' binary cross-entropies. Of one output, the probability
    of class 1, targets are 0 or 1, `(batch,)` or `(batch, 1)`, and top-1 is the share of examples
    on the right side of 0.5. Of several, targets are multi-hot `(batch, classes)`, or integer
    classes `(batch,)` or `(batch, 1)`, which are one-hot encoded; top-1 is the share of examples
    whose largest output is of a class that is right (where none is: whose outputs are all below
    0.5), and `binary_accuracy` the share of the single outputs on the right side of 0.5.

    Outputs are `(batch, classes)`, of any float dtype: the loss is computed in float32. Ties count
    against the network.

    Example:

    ```python
    task = keras_nas.tasks.Classification.of(model, label_smoothing=0.1)
    ```

    Args:
        classes: Number of outputs: 2 or more classes, or with sigmoids 1 or more.
        from_logits: True if the model ends without a softmax or sigmoid.
        label_smoothing: ε: the true class gets 1 − ε + ε / classes, a sigmoid's target y
            y (1 − ε) + ε / 2. From 0 to below 1.
        sigmoid: Whether the outputs are probabilities by sigmoids, each for itself.

    Raises:
        UsageError: If an argument is out of its range.
    """

    monitor = "top1"
    smooths_labels = True

    def __init__(
        self,
        classes: int,
        from_logits: bool = True,
        label_smoothing: float = 0.0,
        sigmoid: bool = False,
    ):
        if classes < (1 if sigmoid else 2):
            raise UsageError(
                "`classes` must be 2 or more, or 1 with sigmoid=True. "
                f"Received: classes={classes}, sigmoid={sigmoid}"
            )
        if not 0 <= label_smoothing < 1:
            raise UsageError(
                "`label_smoothing` must be from 0 to below 1. "
                f"Received: label_smoothing={label_smoothing}"
            )
        self.classes = classes
        self.from_logits = from_logits and not sigmoid
        self.label_smoothing = label_smoothing
        self.sigmoid = sigmoid

    @classmethod
    def of(cls, model: keras.Model, label_smoothing: float = 0.0) -> Classification:
        """The classification task of a model with one output `(batch, classes)`.

        Outputs are taken for probabilities if the layer that makes them is a softmax or sigmoid, or
        has one as its activation; else for logits.

        Raises:
            UsageError: If the model has another output, or one unit that is no sigmoid.
        """
        if len(model.outputs) != 1 or len(model.outputs[0].shape) != 2:
            shapes = [tuple(output.shape) for output in model.outputs]
            raise UsageError(
                f"Classification needs a model with one output (batch, classes): give `task` for "
                f"model '{model.name}'. Received: outputs of shapes {shapes}"
            )
        head, classes = head_of(model), model.outputs[0].shape[-1]
        if classes == 1 and head != "sigmoid":
            raise UsageError(
                f"Model '{model.name}' has one output, which is no probability: end it with "
                "activation='sigmoid' for classes 0 and 1, or Dense(2), or give `task`. Received: "
                f"an output by {head or 'another activation or none'}"
            )
        return cls(classes, not head, label_smoothing, sigmoid=head == "sigmoid")

    @classmethod
    def for_data(cls, data, model, label_smoothing=0.0):
        return cls.of(model, label_smoothing)

    def check_fits(self, data, model, where):
        check_classes(model, data.num_classes, where)

    def check_targets(self, targets, outputs, where):
        """Classes of the outputs' number, or a row for each example: shares, or zeros and ones."""
        if len(outputs) != 2 or outputs[-1] != self.classes:
            raise UsageError(
                f"`task` must be of the model's outputs, as Classification.of(model) is. Received: "
                f"{self.classes} classes for outputs of {shown_shape(outputs[1:])}"
            )
        if targets.ndim == 1 or targets.shape[1:] == (1,) or targets.dtype.kind not in "fiub":
            check_labels(targets, max(self.classes, 2), where)
            return
        if targets.shape[1:] != (self.classes,):
            raise UsageError(
                f"{where} must have labels (batch,) or (batch, {self.classes}), since the task has "
                f"{self.classes} classes. Received: {shown_shape(targets.shape[1:])} an example"
            )
        rows = targets.astype("float64")
        sums = np.ones(1) if self.sigmoid else rows.sum(axis=-1)
        if not (np.all((rows >= 0) & (rows <= 1)) and np.allclose(sums, 1, atol=0.01)):
            rule = "from 0 to 1" + ("" if self.sigmoid else " that add up to 1")
            raise UsageError(
                f"{where} must have rows of numbers {rule} as labels of classification. Received: "
                f"from {rows.min():g} to {rows.max():g}, rows adding up to "
                f"{rows.sum(axis=-1).min():g} to {rows.sum(axis=-1).max():g}; several classes at "
                "once need a sigmoid at the model's end, other numbers task=Regression()"
            )

    def loss(self, targets, outputs):
        outputs = ops.cast(outputs, "float32")
        if self.sigmoid:
            return keras.losses.binary_crossentropy(
                self._by_output(targets), outputs, label_smoothing=self.label_smoothing
            )
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

    def distill_loss(self, taught, outputs, temperature):
        """T² KL of the softened classes, whether the outputs are logits or probabilities."""
        if self.sigmoid:
            return sigmoid_divergence(sigmoid_logits(taught), sigmoid_logits(outputs), temperature)
        if not self.from_logits:
            taught, outputs = softmax_logits(taught), softmax_logits(outputs)
        return softmax_divergence(taught, outputs, temperature)

    def check_teacher(self, teacher, model):
        """Both end in logits, in a softmax or in sigmoids."""
        of_teacher, own = (head_of(each) or "no softmax or sigmoid" for each in (teacher, model))
        if of_teacher != own:
            raise UsageError(
                f"A teacher must end as the network does: teacher '{teacher.name}' ends in "
                f"{of_teacher}, '{model.name}' in {own}."
            )

    def metrics(self):
        """Top-1; top-5 of more than five classes; `binary_accuracy` of several sigmoids."""
        if self.sigmoid:
            top1 = _OfOutputs(self._by_output, is_right_at_best, name="top1")
            each = _OfOutputs(self._by_output, is_on_the_right_side, name="binary_accuracy")
            return [top1, each] if self.classes > 1 else [top1]
        metrics: list[keras.metrics.Metric] = [_TopK(1, name="top1")]
        if self.classes > 5:
            metrics.append(_TopK(5, name="top5"))
        return metrics

    def right_outputs(self, targets):
        return ops.convert_to_numpy(self._by_output(targets))

    def _by_output(self, targets):
        """Targets as float32 `(batch, classes)`."""
        if self.classes == 1:
            targets = ops.reshape(targets, (-1, 1))
        elif self._sparse(targets):
            targets = ops.one_hot(ops.reshape(ops.cast(targets, "int32"), (-1,)), self.classes)
        return ops.cast(targets, "float32")

    def _sparse(self, targets) -> bool:
        return len(targets.shape) == 1 or targets.shape[-1] == 1


def is_among_largest(targets, outputs, k: int):
    """Whether the output of an example's class is among the `k` largest; ties count against it.

    Worked example: of outputs (2, 2, 1), class 0 is not the largest, but among the two largest. A
    network that gives every class the same is right nowhere.

    Args:
        targets: Integer classes `(batch,)`.
        outputs: `(batch, classes)`.

    Returns:
        Bool tensor `(batch,)`; False where the class's output is not a number.
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


def is_on_the_right_side(targets, outputs):
    """For each output whether it is above 0.5 where the target is, else below: as `(batch, n)`."""
    return ops.where(targets > 0.5, outputs > 0.5, outputs < 0.5)


def is_right_at_best(targets, outputs):
    """For each example whether its largest output is of a class that is right: bool `(batch,)`.

    Where no class is right, and for a single output, all outputs must be on their side of 0.5. An
    output that is as large as one of a wrong class is not the largest.
    """
    wanted = targets > 0.5
    best = ops.max(ops.where(wanted, outputs, -np.inf), axis=-1)
    others = ops.max(ops.where(wanted, -np.inf, outputs), axis=-1)
    all_right = ops.all(is_on_the_right_side(targets, outputs), axis=-1)
    if targets.shape[-1] == 1:
        return all_right
    return ops.where(ops.any(wanted, axis=-1), best > others, all_right)


class _OfOutputs(keras.metrics.Mean):
    """The mean of a function of targets and outputs, both `(batch, outputs)`."""

    def __init__(self, by_output, function, name: str):
        super().__init__(name=name)
        self._by_output = by_output
        self._function = function

    def update_state(self, targets, outputs, sample_weight=None):
        hits = self._function(self._by_output(targets), ops.cast(outputs, "float32"))
        return super().update_state(ops.cast(hits, "float32"), sample_weight)


def head_of(model: keras.Model) -> str:
    """What the model's first output comes from: `"softmax"`, `"sigmoid"` or `""`, other things.

    The last operation counts, or its own activation, behind whatever only moves values. Activations
    are told by what they make of three numbers, so that it is all the same whether they are Keras'
    own, another library's or a layer.
    """
    node = read(model).outputs[0].producer
    while node is not None:
        function = _activation(node)
        for name, known in _HEADS.items():
            if function is not None and _computes(function, known):
                return name
        if not (kinds.kind(node.operation) in _MOVING or _is_linear_activation(node)):
            return ""
        node = node.inputs[0].producer
    return ""


def _activation(node: Node) -> Callable | None:
    operation = node.operation
    if kinds.kind(operation) in ("Softmax", "ops.Softmax", "ops.Sigmoid"):
        return operation
    return getattr(operation, "activation", None)


def _computes(function: Any, known: Callable) -> bool:
    if not callable(function) or (
        isinstance(function, keras.layers.Layer) and kinds.kind(function) not in _ACTIVATION_LAYERS
    ):
        return False
    try:
        made = ops.convert_to_numpy(function(ops.convert_to_tensor(_HEAD_INPUTS)))
    except (TypeError, ValueError):  # it asks for other arguments or another shape
        return False
    expected = ops.convert_to_numpy(known(_HEAD_INPUTS))
    return made.shape == expected.shape and bool(np.allclose(made, expected, atol=1e-6))


def _is_linear_activation(node: Node) -> bool:
    return kinds.kind(node.operation) == "Activation" and (
        kinds.activation_name(node.operation.activation) == "linear"
    )
