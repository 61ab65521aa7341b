"""DNAL's penalty: the plain sum of all gates."""

from __future__ import annotations

from collections.abc import Iterable

from keras import ops

from keras_nas.errors import UsageError
from keras_nas.layers import ScaledSigmoidGate


class GateSum:
    """λ_a ΣΣΣ sigmoid(δ s), the second term of DNAL's Eq. (4): a plain sum over all channels.

    Its gradient for one logit is λ_a δ p (1 − p).

    Example:

    ```python
    penalty = GateSum(lambda_a=1e-4)(keras_nas.gates.find(supernet))
    ```

    Args:
        lambda_a: λ_a, 0 or more.
        scaled: False leaves δ out of the penalty, λ_a Σ sigmoid(s), as the authors' code does.

    Call arguments:
        gates: `ScaledSigmoidGate` layers, built.

    Returns:
        A float32 scalar.

    References:
        Guo et al., Differentiable Neural Architecture Learning, Eq. (4) and Alg. 1.
    """

    def __init__(self, lambda_a: float, scaled: bool = True):
        if lambda_a < 0:
            raise UsageError(f"`lambda_a` must be 0 or more. Received: lambda_a={lambda_a}")
        self.lambda_a = lambda_a
        self.scaled = scaled

    def __call__(self, gates: Iterable[ScaledSigmoidGate]):
        total = ops.zeros(())
        for gate in gates:
            p = gate.probabilities() if self.scaled else ops.sigmoid(gate.logits)
            total = total + ops.sum(p)
        return self.lambda_a * total
