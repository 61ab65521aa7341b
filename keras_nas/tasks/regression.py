"""Regression: numbers of any kind, autoencoders among them."""

from __future__ import annotations

import keras
from keras import ops

from keras_nas.tasks.task import Task, check_numbers


class Regression(Task):
    """Mean squared error; R² and the mean absolute error.

    Outputs are `(batch, ..., numbers)`, targets alike, or `(batch,)` where a network gives one
    number; of an autoencoder, the targets are its inputs. Loss and metrics are computed in float32.
    R² is 1 − Σ (y − ŷ)² / Σ (y − ȳ)², with the mean ȳ of each number of the last axis: 1 for a
    perfect network, 0 for one that always says the mean.

    Example:

    ```python
    result = keras_nas.compress(
        autoencoder, (x, x), (held_out, held_out), budget={"macs": "0.5x"},
        task=keras_nas.tasks.Regression(),
    )
    ```
    """

    monitor = "r2"
    has_unit = True

    def check_targets(self, targets, outputs, where):
        """Numbers in the outputs' shape, where the last axis may lack if it has one number."""
        lacks = targets.ndim == len(outputs) - 1 and outputs[-1] == 1
        check_numbers(targets[..., None] if lacks else targets, outputs, where)

    def loss(self, targets, outputs):
        error = ops.square(_like(targets, outputs) - ops.cast(outputs, "float32"))
        return ops.mean(ops.reshape(error, (ops.shape(error)[0], -1)), axis=-1)

    def distill_loss(self, taught, outputs, temperature):
        """The mean squared difference of the two; there is no temperature."""
        return self.loss(taught, outputs)

    def metrics(self) -> list[keras.metrics.Metric]:
        return [_RSquared(name="r2"), _AbsoluteError(name="mean_absolute_error")]

    def right_outputs(self, targets):
        targets = ops.convert_to_numpy(ops.cast(targets, "float32"))
        return targets[:, None] if targets.ndim == 1 else targets


class _RSquared(keras.metrics.R2Score):
    """Over all numbers together, whatever axes stand before the last."""

    def __init__(self, name: str):
        super().__init__(class_aggregation="variance_weighted_average", name=name)

    def update_state(self, y_true, y_pred, sample_weight=None):
        rows = (-1, y_pred.shape[-1])
        targets = ops.reshape(_like(y_true, y_pred), rows)
        super().update_state(targets, ops.reshape(ops.cast(y_pred, "float32"), rows))


class _AbsoluteError(keras.metrics.MeanAbsoluteError):
    """In float32, of targets that may lack the last axis."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        super().update_state(_like(y_true, y_pred), ops.cast(y_pred, "float32"))


def _like(targets, outputs):
    """The targets in float32, in the outputs' shape where only an axis of one number lacks."""
    targets = ops.cast(targets, "float32")
    if len(targets.shape) == len(outputs.shape) - 1 and outputs.shape[-1] == 1:
        return ops.expand_dims(targets, -1)
    return targets
