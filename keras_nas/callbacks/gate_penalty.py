"""DNAL's penalty in `fit`."""

from __future__ import annotations

import keras
from keras import ops

from keras_nas.callbacks.added_loss import AddedLoss
from keras_nas.callbacks.soft_gates import soft_gates
from keras_nas.layers import ScaledSigmoidGate
from keras_nas.regularizers import GateSum
from keras_nas.search.gate_statistics import gate_statistics


@keras.saving.register_keras_serializable(package="keras_nas")
class GatePenalty(AddedLoss):
    """Adds λ_a Σ sigmoid(δ s) of the model's soft `ScaledSigmoidGate`s to the loss of `fit`.

    It is the penalty of `keras_nas.search.dnal`, and goes with `AnnealDelta`. It is there while
    `fit` runs and is not saved with the model; `ScaledSigmoidGate(penalty=…)` is the same as a part
    of the layer. Each epoch's logs have the penalty (`gate_penalty`) and the shares of channels
    that are kept (`kept_share`) and not yet decided (`undecided_share`).

    Example:

    ```python
    supernet.fit(x, y, epochs=20, callbacks=[
        keras_nas.callbacks.AnnealDelta(),
        keras_nas.callbacks.GatePenalty(1e-4),
    ])
    ```

    Args:
        lambda_a: λ_a, 0 or more.
        scaled: False leaves δ out, λ_a Σ sigmoid(s), as the authors' code does.

    Raises:
        UsageError: If `lambda_a` is negative; from `fit`, if no gate is soft and trainable.
        KerasNasError: From `fit`, if the model has no `ScaledSigmoidGate`.

    Reference:
        Guo et al., Differentiable Neural Architecture Learning for Efficient Neural Network Design,
        Eq. (4).
    """

    def __init__(self, lambda_a: float, scaled: bool = True):
        super().__init__()
        self.penalty = GateSum(lambda_a, scaled)
        self.gates: list[ScaledSigmoidGate] = []

    def term(self):
        return sum(gate.is_soft() * self.penalty([gate]) for gate in self.gates)

    def on_train_begin(self, logs=None):
        self.gates = soft_gates(self.model, ScaledSigmoidGate)
        super().on_train_begin(logs)

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None:
            found = gate_statistics(self.gates)
            logs["gate_penalty"] = float(ops.convert_to_numpy(self.term()))
            logs["kept_share"] = found["kept_share"]
            logs["undecided_share"] = found["undecided"] / found["channels"]

    def get_config(self):
        return {"lambda_a": self.penalty.lambda_a, "scaled": self.penalty.scaled}

    @classmethod
    def from_config(cls, config):
        return cls(**config)
