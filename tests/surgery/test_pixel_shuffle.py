"""Surgery through the pixel shuffle: an output channel goes with all of its parts."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers, ops

import keras_nas as kn
from keras_nas.layers import ScaledSigmoidGate
from keras_nas.models import edsr
from keras_nas.surgery.prediction import predict_costs
from tests.random_models import randomize

X = np.random.default_rng(0).normal(size=(2, 6, 5, 3)).astype("float32")


def rebuilt(supernet, masks):
    randomize(supernet, 0)
    for gate, mask in zip(kn.gates.find(supernet), masks, strict=True):
        gate.set_mask(mask)
    small = kn.surgery.build(supernet, kn.Architecture.from_gates(supernet), strict=True)
    a, b = np.asarray(supernet(X, training=False)), np.asarray(small(X, training=False))
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * max(np.abs(a).max(), 1e-3))
    return small


def shuffled(gate_before=False, gate_after=False):
    inputs = keras.Input((6, 5, 3))
    x = layers.Conv2D(12, 3, padding="same", name="a")(inputs)
    x = ScaledSigmoidGate()(x) if gate_before else x
    x = ops.depth_to_space(x, 2)
    x = ScaledSigmoidGate()(x) if gate_after else x
    return keras.Model(inputs, layers.Conv2D(2, 3, padding="same", name="b")(x))


def test_gate_after_the_shuffle_takes_four_channels_before_it():
    """Output channel 1 of 3 is made of input channels 1, 4, 7, 10."""
    supernet = shuffled(gate_after=True)
    small = rebuilt(supernet, [[1, 0, 1]])
    assert small.get_layer("a").filters == 8
    assert small.get_layer("b").kernel.shape == (3, 3, 2, 2)
    kernel = np.asarray(supernet.get_layer("a").kernel)
    kept = [0, 2, 3, 5, 6, 8, 9, 11]
    np.testing.assert_array_equal(small.get_layer("a").kernel, kernel[..., kept])


def test_channel_goes_where_all_of_its_parts_are_off():
    mask = np.ones(12)
    mask[[1, 4, 7, 10]] = 0
    small = rebuilt(shuffled(gate_before=True), [mask])
    assert small.get_layer("a").filters == 8
    assert small.get_layer("b").kernel.shape == (3, 3, 2, 2)


def test_channel_stays_where_one_of_its_parts_is_on():
    mask = np.ones(12)
    mask[[1, 4, 7]] = 0
    small = rebuilt(shuffled(gate_before=True), [mask])
    assert small.get_layer("b").kernel.shape == (3, 3, 3, 2)


@given(
    bits=st.lists(st.booleans(), min_size=15, max_size=15).filter(lambda b: any(b[12:])),
)
@settings(max_examples=15)
def test_any_masks_around_the_shuffle(bits):
    if not any(a and b for a, b in zip(bits[:12], bits[12:] * 4, strict=True)):
        bits = [True, *bits[1:12], True, *bits[13:]]
    rebuilt(shuffled(gate_before=True, gate_after=True), [bits[:12], bits[12:]])


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_edsr_shrinks_with_no_layer_unknown(scale):
    supernet = kn.gates.insert(edsr(scale=scale, filters=8, blocks=2), kn.layers.ScaledSigmoidGate)
    rng = np.random.default_rng(scale)
    masks = [rng.random(gate.channels) > 0.4 for gate in kn.gates.find(supernet)]
    small = rebuilt(supernet, masks)
    assert small.count_params() < supernet.count_params()
    assert small.output_shape == (None, None, None, 3)


def test_costs_are_predicted():
    supernet = shuffled(gate_after=True)
    small = rebuilt(supernet, [[0, 1, 0]])
    predicted = predict_costs(supernet, kn.Architecture.from_gates(supernet))
    assert predicted.params == kn.costs.count(small).params == (27 * 4 + 4) + (9 * 2 + 2)
    assert predicted.macs == kn.costs.count(small).macs == 30 * 27 * 4 + 120 * 9 * 2
