"""Surgery of random graphs under random masks is exact, and costs what was predicted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_nas as kn
from keras_nas.gates.places import ORDERS
from tests.random_models import random_model, randomize
from tests.surgery.rebuilt import outputs


def check(seed: int, order: str, off: float, align: str, steps: int = 9):
    model = random_model(seed, steps)
    randomize(model, seed)
    supernet = kn.gates.insert(model, kn.layers.ScaledSigmoidGate, order=order)
    random = np.random.default_rng(seed)
    x = random.normal(size=(2, 8, 8, 3)).astype("float32")
    for a, b in zip(outputs(model, x), outputs(supernet, x), strict=True):
        np.testing.assert_array_equal(a, b)
    for gate in kn.gates.find(supernet):
        mask = random.random(gate.channels) >= off
        gate.set_mask(mask if random.random() > 0.15 else np.zeros_like(mask))
    architecture = kn.Architecture.from_gates(supernet, align=align)
    small = kn.surgery.build(supernet, architecture, align=align)
    for a, b in zip(outputs(supernet, x), outputs(small, x), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * max(np.ptp(a), np.abs(a).max()))
    costs = kn.costs.count(small)
    assert (costs.macs, costs.params) == (
        architecture.costs["after"]["macs"],
        architecture.costs["after"]["params"],
    )
    assert kn.gates.find(small) == []


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    order=st.sampled_from(ORDERS),
    off=st.sampled_from([0.3, 0.6, 0.9]),
    align=st.sampled_from(["auto", "pad", "extend"]),
)
def test_surgery_of_random_graphs_is_exact(seed, order, off, align):
    check(seed, order, off, align)


@pytest.mark.slow
@settings(max_examples=300)
@given(
    seed=st.integers(0, 10**6),
    order=st.sampled_from(ORDERS),
    off=st.sampled_from([0.1, 0.3, 0.6, 0.9]),
    align=st.sampled_from(["auto", "pad", "extend"]),
    steps=st.integers(3, 20),
)
def test_surgery_of_many_random_graphs_is_exact(seed, order, off, align, steps):
    check(seed, order, off, align, steps)
