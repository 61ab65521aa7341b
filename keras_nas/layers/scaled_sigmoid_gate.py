"""DNAL's gate: a scaled sigmoid on each channel."""

from __future__ import annotations

import keras
from keras import ops

from keras_nas.errors import UsageError
from keras_nas.layers.gate import Gate


@keras.saving.register_keras_serializable(package="keras_nas")
class ScaledSigmoidGate(Gate):
    """Multiplies each channel by p = sigmoid(δ s), DNAL's "SS" layer.

    `s` (`logits`) is learned and starts at 0. `delta` (δ) is a non-trainable variable that a
    schedule moves from 1 to 1e4: as it grows, p turns into the step 1[s > 0]. The gradient is
    dp/ds = δ p (1 − p), computed in float32 under every dtype policy, and finite at δ = 1e4.

    In mode "hard" a channel is kept when p > 0.5, which is s > 0: at s = 0 exactly it is closed
    (Eq. 2), so a fresh gate must be trained, or set by `set_mask`, before it is made hard.

    Example:

    ```python
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(32, 3, use_bias=False)(inputs))
    gate = keras_nas.layers.ScaledSigmoidGate(penalty=1e-4)
    x = keras.layers.ReLU()(gate(x))
    ```

    Args:
        penalty: λ_a of Eq. (4). Where it is not 0, the layer adds `penalty * sum(p)` to the model's
            losses in mode "soft". `keras_nas.search.dnal` adds the term itself and needs none here.
        mode: The mode the layer is built with: `"off"`, `"soft"` or `"hard"`.
        **kwargs: `name`, `dtype`, `trainable` of `keras.layers.Layer`.

    Input shape:
        `(batch, ..., channels)`.

    Output shape:
        The input's.

    References:
        Guo et al., Differentiable Neural Architecture Learning for Efficient Neural Network Design,
        Eq. (2) to (6); Eq. (6) is printed with a slip and is implemented right.
    """

    def __init__(self, penalty: float = 0.0, mode: str = "soft", **kwargs):
        super().__init__(mode=mode, **kwargs)
        if penalty < 0:
            raise UsageError(f"`penalty` must be 0 or more. Received: penalty={penalty}")
        self.penalty = penalty

    def build(self, input_shape):
        super().build(input_shape)
        self.logits = self.add_weight(
            name="logits",
            shape=(self.channels,),
            dtype="float32",
            initializer="zeros",
            autocast=False,
        )
        self.delta = self.add_weight(
            name="delta",
            shape=(),
            dtype="float32",
            initializer="ones",
            trainable=False,
            autocast=False,
        )

    def probabilities(self):
        return ops.sigmoid(self.delta * self.logits)

    def indicator(self):
        return ops.cast(self.logits > 0, "float32")

    def scores(self):
        return ops.convert_to_numpy(self.logits)

    def assign_scores(self, scores):
        self.logits.assign(scores)

    def assign_mask(self, mask):
        self.logits.assign(ops.where(ops.convert_to_tensor(mask), 1.0, -1.0))

    def call(self, inputs):
        if self.penalty:
            self.add_loss(self.penalty * self.is_soft() * ops.sum(self.probabilities()))
        return super().call(inputs)

    def get_config(self):
        return {**super().get_config(), "penalty": self.penalty}
