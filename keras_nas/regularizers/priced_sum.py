"""DNAL's penalty with prices: the sum of all gates, each times what its channel costs."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import tensorflow as tf
from keras import ops

from keras_nas.errors import KerasNasError, UsageError
from keras_nas.layers import Gate, ScaledSigmoidGate
from keras_nas.regularizers.resource import Resource


class PricedSum:
    """λ_a Σ c · p, where c is what a channel costs, given how far its neighbours are open.

    c is ∂R/∂p of FGNAS' R = Σ φ(γ_in, γ_out), Eq. (8), at the gates' present p: what the layers
    that make the channel and those that read it would save without it. A layer's channel costs
    less once half of what it reads is closed. Where branches meet, a channel of the sum is alive as
    far as min(Σ p, 1), and each branch pays for its readers, as with FGNAS' h. c is no variable:
    the gradient for one logit is λ_a c δ p (1 − p).

    All c are divided by one number, their mean with every gate open. So the channels of the full
    network cost 1 on the average, the sum over them is that of `GateSum`, and a λ_a presses the
    whole network as hard; what differs is which channels it presses.

    Worked example: a 1×1 convolution of 1 channel to 2, gated, and one of these 2 to 4, gated, on
    one pixel, in macs. A channel of the first gate costs 1 to make and 4 to read, one of the second
    2 to make: 5, 5, 2, 2, 2, 2, in the mean 3. With all p at 1/2 they cost 3, 3, 1, 1, 1, 1.

    Args:
        resource: What counts.
        lambda_a: λ_a, 0 or more.
        scaled: False leaves δ out of the sum's p, as in `GateSum`; prices still see it.

    Call arguments:
        gates: `ScaledSigmoidGate`s among the resource's gates. The others have the price that
            their masks give them, and are not summed.

    Returns:
        A float32 scalar.

    Raises:
        UsageError: If `lambda_a` is negative.
        KerasNasError: If no channel costs anything.

    References:
        Guo et al., Differentiable Neural Architecture Learning, Eq. (4); Kim et al., Fine-Grained
        Neural Architecture Search, Eq. (8) to (10).
    """

    def __init__(self, resource: Resource, lambda_a: float, scaled: bool = True):
        if lambda_a < 0:
            raise UsageError(f"`lambda_a` must be 0 or more. Received: lambda_a={lambda_a}")
        self.resource = resource
        self.lambda_a = lambda_a
        self.scaled = scaled
        self._unit = self._mean_of_full()

    def __call__(self, gates: Iterable[ScaledSigmoidGate]):
        summed = {id(gate) for gate in gates}
        total = ops.zeros(())
        for gate, price in zip(self.resource.gates, self.prices(), strict=True):
            if id(gate) in summed:
                p = gate.probabilities() if self.scaled else ops.sigmoid(gate.logits)
                total = total + ops.sum(price * p)
        return self.lambda_a * total

    def _mean_of_full(self) -> float:
        """What a channel costs in the mean, every gate being open."""
        every = [tf.ones(gate.channels) for gate in self.resource.gates]
        costs = [
            cost.numpy()
            for gate, cost in zip(self.resource.gates, self._marginal(every), strict=True)
            if isinstance(gate, ScaledSigmoidGate)
        ]
        mean = float(np.mean(np.concatenate(costs))) if costs else 0.0
        if not mean > 0:
            raise KerasNasError(
                f"A penalty that prices channels needs some that cost {self.resource.what}. "
                f"Received: gates whose channels cost {mean:g} in the mean"
            )
        return mean

    def prices(self) -> list[tf.Tensor]:
        """c of each channel, by gate as in `resource.gates`: float32 `(channels,)`."""
        present = [tf.stop_gradient(_openness(gate)) for gate in self.resource.gates]
        return [tf.stop_gradient(cost) / self._unit for cost in self._marginal(present)]

    def _marginal(self, factors: list[tf.Tensor]) -> list[tf.Tensor]:
        return self.resource.marginal(factors, as_far_as_open)


def as_far_as_open(total: tf.Tensor) -> tf.Tensor:
    """h of Eq. (10) for p from 0 to 1: min(Σ p, 1), with the gradient of the identity."""
    return total + tf.stop_gradient(tf.minimum(total, 1.0) - total)


def _openness(gate: Gate) -> tf.Tensor:
    if isinstance(gate, ScaledSigmoidGate):
        return tf.convert_to_tensor(gate.probabilities())
    return tf.constant(gate.mask(), tf.float32)
