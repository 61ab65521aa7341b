from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nas.layers import ScaledSigmoidGate

X = np.arange(24, dtype="float32").reshape(2, 3, 4)


def built(**arguments) -> ScaledSigmoidGate:
    gate = ScaledSigmoidGate(**arguments)
    gate.build((None, 3, 4))
    return gate


def test_starts_half_open_in_soft_mode():
    gate = built()
    np.testing.assert_allclose(gate(X), X / 2)
    assert gate.channels == 4
    assert gate.mode == "soft"
    assert float(gate.delta) == 1.0
    assert [w.name for w in gate.trainable_weights] == ["logits"]
    assert [w.name for w in gate.non_trainable_weights] == ["mode", "delta"]


def test_off_is_the_identity_exactly():
    gate = built(mode="off")
    gate.logits.assign([3.0, -2.0, 0.1, 0.0])
    np.testing.assert_array_equal(gate(X), X)


def test_hard_keeps_positive_logits_only():
    gate = built(mode="hard")
    gate.logits.assign([1e-6, 0.0, -1e-6, 2.0])
    np.testing.assert_array_equal(gate(X), X * np.float32([1, 0, 0, 1]))
    assert gate.mask().tolist() == [True, False, False, True]


@pytest.mark.parametrize("delta", [1.0, 10.0, 100.0, 1e4])
def test_gradient_is_delta_p_one_minus_p(delta):
    gate = built()
    logits = np.float32([1e-4, -2e-4, 0.0, 0.3])
    gate.logits.assign(logits)
    gate.delta.assign(delta)
    with tf.GradientTape() as tape:
        p = gate.probabilities()
    p64 = 1 / (1 + np.exp(-np.float64(delta) * logits.astype("float64")))
    gradient = tape.gradient(p, gate.logits)
    np.testing.assert_allclose(gradient, delta * p64 * (1 - p64), rtol=1e-4, atol=delta * 1e-7)
    assert np.isfinite(gradient).all()


def test_gradient_stays_finite_far_out_at_the_largest_delta():
    gate = built()
    gate.logits.assign([50.0, -50.0, 1e-9, -1e-9])
    gate.delta.assign(1e4)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(gate(X) ** 2)
    assert np.isfinite(tape.gradient(loss, gate.logits)).all()


def test_penalty_is_the_plain_sum_of_probabilities_in_soft_mode_only():
    gate = built(penalty=0.25)
    gate(X)
    assert float(gate.losses[0]) == pytest.approx(0.25 * 4 * 0.5)
    gate = built(penalty=0.25, mode="hard")
    gate(X)
    assert float(gate.losses[0]) == 0.0


@pytest.mark.parametrize("mask", [[True], [True] * 5, [[True] * 4]])
def test_set_mask_refuses_another_width(mask):
    with pytest.raises(ValueError, match=r"`mask` must have one entry a channel, shape \(4,\)"):
        built().set_mask(mask)


def test_refusals_say_what_is_allowed():
    with pytest.raises(ValueError, match=r"`mode` must be one of .* Received: mode='half'"):
        ScaledSigmoidGate(mode="half")
    with pytest.raises(ValueError, match="`penalty` must be 0 or more"):
        ScaledSigmoidGate(penalty=-1.0)
    with pytest.raises(ValueError, match="known last axis"):
        ScaledSigmoidGate().build((None, 3, None))
    with pytest.raises(ValueError, match="has no channels yet"):
        ScaledSigmoidGate(name="early").mask()


def test_config_round_trip():
    gate = ScaledSigmoidGate(penalty=0.5, mode="hard", name="g", dtype="mixed_float16")
    twin = ScaledSigmoidGate.from_config(gate.get_config())
    assert (twin.penalty, twin.mode, twin.name) == (0.5, "hard", "g")
    assert twin.compute_dtype == "float16"
    assert gate.compute_output_shape((None, 3, 4)) == (None, 3, 4)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    gate = built(dtype=policy)
    gate.delta.assign(1e4)
    gate.logits.assign([1e-4, -1e-4, 20.0, -20.0])
    with tf.GradientTape() as tape:
        y = gate(X / 24)
        loss = tf.reduce_sum(tf.cast(y, "float32"))
    assert y.dtype == gate.compute_dtype
    assert gate.logits.dtype == "float32"
    assert np.isfinite(tape.gradient(loss, gate.logits)).all()
    np.testing.assert_allclose(np.float32(y)[..., 2], X[..., 2] / 24, rtol=1e-2)


def test_learns_in_fit():
    """Input channel 0 decides the target; under the penalty the others close, it stays."""
    random = np.random.default_rng(0)
    x = random.normal(size=(256, 4)).astype("float32")
    inputs = keras.Input((4,))
    gated = ScaledSigmoidGate(penalty=0.1, name="gate")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1)(gated))
    model.compile(keras.optimizers.SGD(0.5), "mse")
    model.fit(x, 3 * x[:, :1], epochs=30, batch_size=64, verbose=0)
    assert model.get_layer("gate").mask().tolist() == [True, False, False, False]
