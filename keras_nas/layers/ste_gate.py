"""FGNAS' gate: an on/off decision a channel, with a straight-through gradient."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_nas.errors import UsageError
from keras_nas.layers.gate import Gate

INITIAL_GAP = 0.1


@keras.saving.register_keras_serializable(package="keras_nas")
class STEGate(Gate):
    """Multiplies each channel by g(ψ), FGNAS' gate: 0 or 1 forward, a softmax backward.

    Each channel has two logits ψ = (ψ_on, ψ_off). In mode "soft", where the search learns, the
    factor is 1[ψ_on ≥ ψ_off] exactly, and its gradient is that of softmax_on(ψ) = p: p (1 − p) for
    ψ_on and −p (1 − p) for ψ_off. A tie is open. Mode "hard" multiplies by the same numbers and
    learns nothing (the gates of the paper's fourth step), and `"off"` is the identity.

    Where the logits start is left open by the paper. Here ψ_on − ψ_off = `initial_gap` = 0.1:
    every gate is open, p = 0.525, and p (1 − p) is within 1 % of its maximum of 1/4, so a gate
    closes as soon as its logits have moved 0.05 each. With the paper's λ (1e-9 a flop) on a
    channel of 1 M flops, and SGD with momentum 0.9 at 0.01, that takes 2000 steps: 5 epochs of
    CIFAR-10, of the 40 that the paper's search may take.

    Example:

    ```python
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(32, 3, use_bias=False)(inputs))
    x = keras_nas.layers.STEGate()(keras.layers.ReLU()(x))
    ```

    The gate stands behind the activation, as in the paper: before a ReLU, a closed channel's
    gradient is 0 and it can never open again.

    Args:
        initial_gap: ψ_on − ψ_off at the start, 0 or more; the two logits lie evenly about 0.
        mixed_layer: The mixed layer that the gate belongs to; None for none.
        operation: Which of the mixed layer's operations it gates.
        mode: The mode the layer is built with: `"off"`, `"soft"` or `"hard"`.
        **kwargs: `name`, `dtype`, `trainable` of `keras.layers.Layer`.

    Input shape:
        `(batch, ..., channels)`.

    Output shape:
        The input's.

    Attributes:
        logits: ψ, a trainable float32 variable of shape `(channels, 2)`: on, off.

    Raises:
        UsageError: If `initial_gap` is negative.

    References:
        Kim et al., Fine-Grained Neural Architecture Search, Eq. (4) to (6).
    """

    def __init__(
        self,
        initial_gap: float = INITIAL_GAP,
        mode: str = "soft",
        mixed_layer: str | None = None,
        operation: str | None = None,
        **kwargs,
    ):
        super().__init__(mode=mode, **kwargs)
        if initial_gap < 0:
            raise UsageError(
                f"`initial_gap` must be 0 or more. Received: initial_gap={initial_gap}"
            )
        self.initial_gap = initial_gap
        self.mixed_layer = mixed_layer
        self.operation = operation

    def build(self, input_shape):
        super().build(input_shape)
        half = self.initial_gap / 2
        self.logits = self.add_weight(
            name="logits",
            shape=(self.channels, 2),
            dtype="float32",
            initializer=lambda shape, dtype: ops.tile(
                ops.convert_to_tensor([[half, -half]], dtype), (shape[0], 1)
            ),
            autocast=False,
        )

    def probabilities(self):
        return ops.sigmoid(self.logits[:, 0] - self.logits[:, 1])

    def indicator(self):
        return ops.cast(self.logits[:, 0] >= self.logits[:, 1], "float32")

    def factors(self):
        closed_or_open = straight_through(self.indicator(), self.probabilities())
        chosen = ops.where(ops.equal(self._mode, 1), closed_or_open, self.indicator())
        return ops.where(ops.equal(self._mode, 0), ops.ones_like(chosen), chosen)

    def scores(self):
        logits = ops.convert_to_numpy(self.logits)
        return logits[:, 0] - logits[:, 1]

    def assign_scores(self, scores):
        half = np.asarray(scores, "float32") / 2
        self.logits.assign(np.stack([half, -half], axis=-1))

    def assign_mask(self, mask):
        half = max(self.initial_gap, INITIAL_GAP) / 2
        on = ops.where(ops.convert_to_tensor(mask), half, -half)
        self.logits.assign(ops.stack([on, -on], axis=-1))

    def get_config(self):
        return {
            **super().get_config(),
            "initial_gap": self.initial_gap,
            "mixed_layer": self.mixed_layer,
            "operation": self.operation,
        }


def straight_through(indicator, probabilities):
    """The one forward, with the gradient of the other: float32 `(channels,)`."""
    # 1[…] + p − p, summed so that the forward value is exactly 0 or 1.
    soft = probabilities - ops.stop_gradient(probabilities)
    return ops.stop_gradient(indicator) + soft


def all_straight_through(gates: Sequence[Gate]) -> list:
    """`straight_through` of several gates; those of `STEGate`s in a few operations together."""
    alike = [gate for gate in gates if type(gate) is STEGate]
    found = {}
    if len(alike) > 1:
        on, off = _joined_logits(alike)
        factors = straight_through(ops.cast(on >= off, "float32"), ops.sigmoid(on - off))
        ends = np.cumsum([gate.channels for gate in alike])[:-1].tolist()
        parts = ops.split(factors, ends)
        found = {id(gate): part for gate, part in zip(alike, parts, strict=True)}
    return [
        found[id(gate)]
        if id(gate) in found
        else straight_through(gate.indicator(), gate.probabilities())
        for gate in gates
    ]


def opened(gates: Sequence[STEGate]):
    """Which channels are open: bool `(channels of all,)`, one gate's behind the other's."""
    on, off = _joined_logits(gates)
    return on >= off


def _joined_logits(gates: Sequence[STEGate]) -> tuple:
    """ψ_on and ψ_off: float32 `(channels of all,)`, one gate's behind the other's."""
    logits = ops.concatenate([ops.convert_to_tensor(gate.logits) for gate in gates])
    return tuple(ops.unstack(logits, axis=1))
