from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nas.layers import STEGate

X = np.arange(24, dtype="float32").reshape(2, 3, 4)
LOGITS = np.float32([[0.3, 0.1], [-1.0, 2.0], [0.5, 0.5], [-0.2, -0.1]])


def built(**arguments) -> STEGate:
    gate = STEGate(**arguments)
    gate.build((None, 3, 4))
    return gate


def test_starts_open_with_two_logits_a_channel():
    gate = built()
    np.testing.assert_array_equal(gate(X), X)
    assert (gate.channels, gate.mode) == (4, "soft")
    assert tuple(gate.logits.shape) == (4, 2)
    np.testing.assert_allclose(gate.scores(), [0.1] * 4, rtol=1e-6)
    assert [w.name for w in gate.trainable_weights] == ["logits"]


@pytest.mark.parametrize(("mode", "factors"), [("off", 1), ("soft", None), ("hard", None)])
def test_forward_is_exactly_zero_or_one_and_ties_are_open(mode, factors):
    gate = built(mode=mode)
    gate.logits.assign(LOGITS)
    expected = np.float32([1, 0, 1, 0]) if factors is None else factors
    np.testing.assert_array_equal(gate(X), X * expected)
    assert gate.mask().tolist() == [True, False, True, False]
    np.testing.assert_allclose(gate.scores(), LOGITS[:, 0] - LOGITS[:, 1])


def test_gradient_is_that_of_the_softmax():
    gate = built()
    gate.logits.assign(LOGITS)
    weights = np.float32([1.0, 2.0, 3.0, 4.0])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(gate.factors() * weights)
    e = np.exp(LOGITS.astype("float64"))
    p = e[:, 0] / e.sum(axis=1)
    expected = (weights * p * (1 - p))[:, None] * [1, -1]
    np.testing.assert_allclose(tape.gradient(loss, gate.logits.value), expected, rtol=1e-6)


def test_gradient_of_closed_gates_reaches_through_the_product():
    gate = built()
    gate.logits.assign(LOGITS)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(gate(X))
    p = 1 / (1 + np.exp(LOGITS[:, 1] - LOGITS[:, 0]))
    expected = X.sum(axis=(0, 1)) * p * (1 - p)
    np.testing.assert_allclose(tape.gradient(loss, gate.logits.value)[:, 0], expected, rtol=1e-5)


@pytest.mark.parametrize("mode", ["off", "hard"])
def test_nothing_is_learned_but_in_soft_mode(mode):
    gate = built(mode=mode)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(gate(X) ** 2)
    gradient = tape.gradient(loss, gate.logits.value, unconnected_gradients="zero")
    np.testing.assert_array_equal(gradient, np.zeros((4, 2)))


def test_extreme_logits_stay_finite():
    gate = built()
    gate.logits.assign([[1e4, -1e4], [-1e4, 1e4], [80.0, 0.0], [0.0, 80.0]])
    with tf.GradientTape() as tape:
        y = gate(X)
        loss = tf.reduce_sum(y**2)
    np.testing.assert_array_equal(y, X * np.float32([1, 0, 1, 0]))
    assert np.isfinite(tape.gradient(loss, gate.logits.value)).all()


def test_set_mask_freezes_a_mask_that_can_still_be_learned_on():
    gate = built()
    gate.set_mask([1, 0, 0, 1])
    assert gate.mode == "hard"
    np.testing.assert_array_equal(gate(X), X * np.float32([1, 0, 0, 1]))
    np.testing.assert_allclose(gate.scores(), [0.1, -0.1, -0.1, 0.1], rtol=1e-6)


def test_refusals_and_config():
    with pytest.raises(ValueError, match="`initial_gap` must be 0 or more"):
        STEGate(initial_gap=-0.1)
    gate = STEGate(initial_gap=0.5, mode="hard", name="g", dtype="mixed_float16")
    twin = STEGate.from_config(gate.get_config())
    assert (twin.initial_gap, twin.mode, twin.name) == (0.5, "hard", "g")
    assert gate.compute_output_shape((None, 3, 4)) == (None, 3, 4)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    gate = built(dtype=policy)
    gate.logits.assign(LOGITS)
    with tf.GradientTape() as tape:
        y = gate(X / 24)
        loss = tf.reduce_sum(tf.cast(y, "float32"))
    assert y.dtype == gate.compute_dtype
    assert gate.logits.dtype == "float32"
    gradient = np.asarray(tape.gradient(loss, gate.logits.value))
    assert np.isfinite(gradient).all()
    assert (gradient[:, 0] > 0).all()
    assert (np.float32(y)[..., [1, 3]] == 0).all()


class Priced(keras.Model):
    """A gate and a Dense layer, with a price of 0.1 for every open channel."""

    def __init__(self):
        super().__init__()
        self.gate = STEGate(name="gate")
        self.dense = keras.layers.Dense(1)

    def call(self, inputs):
        y = self.gate(inputs)
        self.add_loss(0.1 * keras.ops.sum(self.gate.factors()))
        return self.dense(y)


def test_learns_in_fit():
    """Input channel 0 decides the target; under a price the others close, it stays."""
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(256, 4)).astype("float32")
    model = Priced()
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(x, 3 * x[:, :1], epochs=20, batch_size=64, verbose=0)
    assert model.gate.mask().tolist() == [True, False, False, False]
