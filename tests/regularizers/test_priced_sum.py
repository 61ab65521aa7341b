"""What DNAL's penalty costs where channels have prices, worked by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_nas as kn
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.layers import ScaledSigmoidGate
from keras_nas.regularizers import GateSum, PricedSum, Resource
from tests.training.nets import small_net

LN_3 = float(np.log(3.0))
OPEN = 50.0


def convolution(channels, x):
    return layers.Conv2D(channels, 1, use_bias=False)(x)


def chain():
    """One pixel: a convolution of 1 channel to 2, gate a, one to 4, gate b."""
    inputs = keras.Input((1, 1, 1))
    x = ScaledSigmoidGate(name="a")(convolution(2, inputs))
    return keras.Model(inputs, ScaledSigmoidGate(name="b")(convolution(4, x)))


def branches():
    """One pixel: two convolutions of 1 channel to 2, gates a and b, their sum, one to 3, gate c."""
    inputs = keras.Input((1, 1, 1))
    one, other = (ScaledSigmoidGate(name=name)(convolution(2, inputs)) for name in "ab")
    x = layers.Add()([one, other])
    return keras.Model(inputs, ScaledSigmoidGate(name="c")(convolution(3, x)))


def priced(model, what="macs", lambda_a=1.0, scaled=True, delta=1.0, **logits):
    for gate in kn.gates.find(model):
        gate.logits.assign(logits[gate.name])
        gate.delta.assign(delta)
    return PricedSum(Resource(model, what), lambda_a, scaled)


def prices_of(penalty):
    found = zip(penalty.resource.gates, penalty.prices(), strict=True)
    return {gate.name: price.numpy().tolist() for gate, price in found}


def test_a_channel_costs_what_makes_it_and_what_reads_it():
    """In the full network 1 + 4 macs a channel of a, 2 of b: 3 in the mean of six."""
    found = prices_of(priced(chain(), a=[OPEN] * 2, b=[OPEN] * 4))
    assert found["a"] == pytest.approx([5 / 3] * 2)
    assert found["b"] == pytest.approx([2 / 3] * 4)


def test_neighbours_count_as_far_as_they_are_open():
    """p is 1/2, 3/4 in a, and 3/4, 1/4, 0, 1 in b: a's channels have 2 readers, b's read 5/4."""
    penalty = priced(chain(), lambda_a=0.1, a=[0.0, LN_3], b=[LN_3, -LN_3, -200.0, OPEN])
    found = prices_of(penalty)
    assert found["a"] == pytest.approx([(1 + 2) / 3] * 2)
    assert found["b"] == pytest.approx([1.25 / 3] * 4)
    value = penalty(penalty.resource.gates)
    assert float(value) == pytest.approx(0.1 * (1.25 * 1 + 2 * 1.25 / 3))
    only_a = penalty(penalty.resource.gates[:1])
    assert float(only_a) == pytest.approx(0.1 * 1.25)


@pytest.mark.parametrize("delta", [1.0, 2.0])
def test_gradient_is_lambda_price_delta_p_one_minus_p(delta):
    penalty = priced(chain(), lambda_a=0.1, delta=delta, a=[0.0, 0.3], b=[0.1, -0.1, 0.2, OPEN])
    a, b = penalty.resource.gates

    @tf.function(autograph=False)
    def gradient():
        with tf.GradientTape() as tape:
            value = penalty([a, b])
        return tape.gradient(value, [a.logits.value, b.logits.value])

    p, q = (1 / (1 + np.exp(-delta * gate.logits.numpy().astype(float))) for gate in (a, b))
    of_a, of_b = gradient()
    np.testing.assert_allclose(of_a, 0.1 * delta * (1 + q.sum()) / 3 * p * (1 - p), rtol=1e-5)
    np.testing.assert_allclose(of_b, 0.1 * delta * p.sum() / 3 * q * (1 - q), rtol=1e-5, atol=1e-9)


def test_where_branches_meet_a_channel_is_alive_once_and_both_pay_for_its_readers():
    """Full: 1 + 3 macs a channel of a and b, 2 of c; 22/7 in the mean of seven."""
    penalty = priced(branches(), a=[0.0, LN_3], b=[-LN_3, LN_3], c=[0.0] * 3)
    found = prices_of(penalty)
    assert found["a"] == found["b"] == pytest.approx([(1 + 1.5) * 7 / 22] * 2)
    assert found["c"] == pytest.approx([(0.75 + 1) * 7 / 22] * 3)


def test_unscaled_the_sum_leaves_delta_out_and_prices_do_not():
    """δ = 2: b is 9/10 open and counts 3/4; a channel of a costs 1 + 4 · 9/10."""
    penalty = priced(chain(), scaled=False, delta=2.0, a=[OPEN] * 2, b=[LN_3] * 4)
    assert float(penalty(penalty.resource.gates)) == pytest.approx(2 * 4.6 / 3 + 4 * 0.75 * 2 / 3)


@pytest.mark.parametrize("what", ["params", "macs", "flops"])
def test_the_full_network_costs_its_number_of_channels_in_any_resource(what):
    model = kn.gates.insert(small_net(), ScaledSigmoidGate)
    logits = {gate.name: [OPEN] * gate.channels for gate in kn.gates.find(model)}
    penalty = priced(model, what, lambda_a=1e-3, **logits)
    plain = GateSum(1e-3)(penalty.resource.gates)
    assert float(penalty(penalty.resource.gates)) == pytest.approx(float(plain), rel=1e-5)
    prices = np.concatenate(penalty.prices())
    assert prices.std() > 0.1


def test_a_negative_lambda_and_channels_that_cost_nothing_are_refused():
    model = chain()
    with pytest.raises(UsageError, match="lambda_a=-1"):
        PricedSum(Resource(model, "macs"), -1)
    inputs = keras.Input((2,))
    free = keras.Model(inputs, ScaledSigmoidGate()(layers.ReLU()(inputs)))
    with pytest.raises(KerasNasError, match="some that cost macs"):
        PricedSum(Resource(free, "macs"), 1.0)
