from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nas.errors import UsageError
from keras_nas.layers import ScaledSigmoidGate
from keras_nas.regularizers import GateSum


def gate(logits, delta):
    layer = ScaledSigmoidGate()
    layer.build((None, len(logits)))
    layer.logits.assign(logits)
    layer.delta.assign(delta)
    return layer


def test_is_the_plain_sum_over_all_channels():
    gates = [gate([0.0, 0.0, 0.0], 1.0), gate([np.log(3.0)], 1.0)]
    # 3 · 0.5 + 0.75
    assert float(GateSum(0.1)(gates)) == pytest.approx(0.1 * 2.25)


def test_delta_scales_the_logits():
    # sigmoid(2 · ln 3) = 9 / 10
    assert float(GateSum(1.0)([gate([np.log(3.0)], 2.0)])) == pytest.approx(0.9)


def test_without_scaling_delta_is_left_out():
    assert float(GateSum(1.0, scaled=False)([gate([np.log(3.0)], 2.0)])) == pytest.approx(0.75)


@pytest.mark.parametrize("delta", [1.0, 10.0, 1e4])
def test_gradient_is_lambda_delta_p_one_minus_p(delta):
    layer = gate([0.02, -0.3, 0.0], delta)
    with tf.GradientTape() as tape:
        penalty = GateSum(1e-3)([layer])
    gradient = tape.gradient(penalty, layer.logits.value).numpy()
    p = 1 / (1 + np.exp(np.minimum(700, -delta * np.array([0.02, -0.3, 0.0]))))
    assert np.isfinite(gradient).all()
    assert gradient == pytest.approx(1e-3 * delta * p * (1 - p), rel=1e-4, abs=1e-12)


def test_negative_lambda_is_refused():
    with pytest.raises(UsageError, match="lambda_a=-1"):
        GateSum(-1)


def test_no_gates_cost_nothing():
    assert float(keras.ops.convert_to_numpy(GateSum(1.0)([]))) == 0.0
