"""DNAL's annealing of δ in `fit`."""

from __future__ import annotations

import keras
from keras import ops

from keras_nas.callbacks.soft_gates import soft_gates
from keras_nas.errors import UsageError
from keras_nas.layers import ScaledSigmoidGate
from keras_nas.search.delta_schedule import DeltaSchedule


@keras.saving.register_keras_serializable(package="keras_nas")
class AnnealDelta(keras.callbacks.Callback):
    """Moves δ of the model's soft `ScaledSigmoidGate`s from 1 to `delta_max` while `fit` runs.

    δ is a function of the epoch (and the step) that `fit` is at, so a fit that goes on from
    `initial_epoch`, or by `keras.callbacks.BackupAndRestore`, has the δ of that epoch. Each epoch's
    logs have it as `delta`.

    Example:

    ```python
    supernet = keras_nas.gates.insert(model, keras_nas.layers.ScaledSigmoidGate)
    keras_nas.gates.set_mode(supernet, "soft")
    supernet.compile("adam", "sparse_categorical_crossentropy")
    supernet.fit(x, y, epochs=20, callbacks=[
        keras_nas.callbacks.AnnealDelta(),
        keras_nas.callbacks.GatePenalty(1e-4),
    ])
    ```

    Args:
        delta_max: The last δ.
        delta_schedule: `"epoch"`: 1 in the first epoch, `delta_max` in the last, exponentially
            between them. `"step"`: the same over all steps, whose number `fit` must know.
            `"authors"`: from delta_max^(1/n) on, as in the authors' code.
        epochs: The epochs over which δ rises, after which it stays; by default all of `fit`.

    Raises:
        UsageError: If an argument makes no sense; from `fit`, if no gate is soft, or it does not
            know the steps of an epoch, which `"step"` needs.
        KerasNasError: From `fit`, if the model has no `ScaledSigmoidGate`.

    Reference:
        Guo et al., Differentiable Neural Architecture Learning for Efficient Neural Network Design,
        Alg. 1.
    """

    def __init__(
        self, delta_max: float = 1e4, delta_schedule: str = "epoch", epochs: int | None = None
    ):
        super().__init__()
        if epochs is not None and epochs < 1:
            raise UsageError(f"`epochs` must be 1 or more. Received: epochs={epochs}")
        self.schedule = DeltaSchedule(delta_max, delta_schedule)
        self.epochs = epochs
        self._gates: list[ScaledSigmoidGate] = []
        self._epoch = 0

    def on_train_begin(self, logs=None):
        self._gates = soft_gates(self.model, ScaledSigmoidGate)
        if self.schedule.every == "step" and not self.params["steps"]:
            raise UsageError(
                "`delta_schedule` of 'step' needs to know the steps of an epoch: give fit "
                "`steps_per_epoch`, or data with a length."
            )

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        self._move(epoch, 0)

    def on_train_batch_begin(self, batch, logs=None):
        if self.schedule.every == "step":
            self._move(self._epoch, batch)

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None:
            logs["delta"] = float(ops.convert_to_numpy(self._gates[0].delta))

    def _move(self, epoch: int, step: int) -> None:
        epochs, steps = self.epochs or self.params["epochs"], self.params["steps"] or 1
        if epoch >= epochs:
            epoch, step = epochs - 1, steps - 1
        value = self.schedule.value(epoch, step, epochs, steps)
        for gate in self._gates:
            gate.delta.assign(value)

    def get_config(self):
        return {
            "delta_max": self.schedule.maximum,
            "delta_schedule": self.schedule.every,
            "epochs": self.epochs,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**config)
