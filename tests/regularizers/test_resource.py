"""The resource regulariser counts what surgery builds, and has the paper's gradient."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

import keras_nas as kn
from keras_nas.costs.latency_operations import timed_operations
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.graph import read
from keras_nas.regularizers import Resource
from tests.random_models import random_model, randomize

ORDERS = ("conv_bn_gate_relu", "conv_gate_bn_relu", "conv_bn_relu_gate")


def gated(model, **arguments):
    return kn.gates.insert(model, kn.layers.STEGate, **arguments)


def predicted(supernet, what):
    architecture = kn.Architecture.from_gates(supernet, align="pad")
    return getattr(kn.surgery.predict_costs(supernet, architecture, align="pad"), what)


def has_shared_layer(model) -> bool:
    return any(
        len(nodes) > 1 and getattr(nodes[0].operation, "weights", None)
        for nodes in read(model).calls().values()
    )


def set_random_masks(supernet, random, off):
    for gate in kn.gates.find(supernet):
        mask = random.random(gate.channels) >= off
        gate.set_mask(mask if random.random() > 0.15 else np.zeros_like(mask))


def chain() -> keras.Model:
    """8×8×2 → 3×3 (4) → 3×3 (3) → mean → Dense(2), with BatchNormalization."""
    inputs = keras.Input((8, 8, 2))
    x = inputs
    for name, width in (("a", 4), ("b", 3)):
        x = layers.Conv2D(width, 3, padding="same", use_bias=False, name=name)(x)
        x = layers.BatchNormalization(name=f"{name}_bn")(x)
        x = layers.ReLU(name=f"{name}_relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(2, name="head")(x))


def test_hand_worked_chain():
    """a keeps 3 of 4, b 2 of 3: 64·9·(2·3 + 3·2) + 2·2 macs; 9·12 + 2·(3 + 2) + 2·2 + 2 params."""
    supernet = gated(chain())
    a, b = kn.gates.find(supernet)
    a.set_mask([1, 0, 1, 1])
    b.set_mask([0, 1, 1])
    macs = 64 * 9 * (2 * 3 + 3 * 2) + 4
    assert float(Resource(supernet, "macs")()) == macs
    assert float(Resource(supernet, "flops")()) == 2 * macs
    assert float(Resource(supernet, "params")()) == 9 * 12 + 2 * 5 + 2 * 2 + 2


def test_gradient_of_the_chain_is_the_papers():
    """∂R/∂G of gate a is 64·9·(2 + γ_b) macs, of b 64·9·γ_a + 2, open or closed (Eq. 8 to 10)."""
    supernet = gated(chain())
    a, b = kn.gates.find(supernet)
    for gate in (a, b):
        gate.mode = "soft"
    a.logits.assign([[0.2, 0.0], [0.0, 0.3], [0.1, 0.1], [1.0, 0.0]])
    resource = Resource(supernet, "macs")
    with tf.GradientTape() as tape:
        value = resource()
    of_a, of_b = tape.gradient(value, [a.logits.value, b.logits.value])
    p = 1 / (1 + np.exp(-np.array([0.2, -0.3, 0.0, 1.0])))
    expected = 64 * 9 * (2 + 3) * p * (1 - p)
    np.testing.assert_allclose(of_a, np.stack([expected, -expected], -1), rtol=1e-5)
    p = 1 / (1 + np.exp(-0.1))
    expected = np.full(3, (64 * 9 * 3 + 2) * p * (1 - p))
    np.testing.assert_allclose(of_b, np.stack([expected, -expected], -1), rtol=1e-5)


def check_value(seed, order, off):
    model = random_model(seed, 7)
    if has_shared_layer(model):
        return
    randomize(model, seed)
    supernet = gated(model, order=order)
    random = np.random.default_rng(seed)
    resources = {what: Resource(supernet, what) for what in ("params", "macs", "flops")}
    for _ in range(2):
        set_random_masks(supernet, random, off)
        for what, resource in resources.items():
            assert float(resource()) == predicted(supernet, what)


@settings(max_examples=12)
@given(
    seed=st.integers(0, 10**6),
    order=st.sampled_from(ORDERS),
    off=st.sampled_from([0.3, 0.6, 0.9]),
)
def test_value_is_the_cost_of_the_small_network(seed, order, off):
    check_value(seed, order, off)


@pytest.mark.slow
@settings(max_examples=200)
@given(
    seed=st.integers(0, 10**6),
    order=st.sampled_from(ORDERS),
    off=st.sampled_from([0.1, 0.3, 0.6, 0.9]),
)
def test_value_is_the_cost_of_many_small_networks(seed, order, off):
    check_value(seed, order, off)


@pytest.mark.parametrize(
    ("builder", "config"),
    [
        ("resnet20_cifar", {"stage_widths": [4, 6, 8]}),
        ("mobilenet_v2_cifar", {}),
        ("small_vgg", {"widths": [[4, 4], [6, 6], [8, 8]], "hidden_width": 8}),
    ],
)
def test_value_of_backbones(builder, config):
    supernet = gated(kn.models.create(builder, **config))
    random = np.random.default_rng(1)
    for what in ("params", "flops"):
        resource = Resource(supernet, what)
        set_random_masks(supernet, random, 0.4)
        assert float(resource()) == predicted(supernet, what)
        assert resource.full() == getattr(kn.costs.count(supernet), what)


def linearized(resource, factors):
    """R's relaxed form with each h(s) replaced by h(s₀) + (s − s₀) at `factors`."""
    shifts = []

    def record(total):
        shifts.append(tf.cast(total != 0, total.dtype) - total)
        return total + shifts[-1]

    resource.relaxed(factors, record)

    def value(moved):
        known = iter(shifts)
        return float(resource.relaxed(moved, lambda total: total + next(known)))

    return value


@pytest.mark.parametrize("seed", [3, 14, 29, 41])
def test_gradient_by_finite_differences_of_the_relaxed_form(seed):
    model = random_model(seed, 6)
    if has_shared_layer(model):
        model = chain()
    supernet = gated(model)
    set_random_masks(supernet, np.random.default_rng(seed), 0.3)
    resource = Resource(supernet, "params")
    factors = {gate.name: tf.constant(gate.mask().astype("float32")) for gate in resource.gates}
    with tf.GradientTape() as tape:
        tape.watch(factors)
        value = resource.of(factors)
    gradient = tape.gradient(value, factors, unconnected_gradients="zero")
    relaxed = linearized(resource, factors)
    for name, found in gradient.items():
        for channel in range(len(found)):
            step = 0.25 * tf.one_hot(channel, len(found))
            up = relaxed({**factors, name: factors[name] + step})
            down = relaxed({**factors, name: factors[name] - step})
            assert float(found[channel]) == pytest.approx((up - down) / 0.5, rel=1e-5, abs=1e-4)


def test_runs_in_a_function_that_is_traced_once():
    supernet = gated(chain())
    resource, traces = Resource(supernet, "flops"), []

    @tf.function
    def run():
        traces.append(1)
        return resource()

    random = np.random.default_rng(0)
    for _ in range(3):
        set_random_masks(supernet, random, 0.5)
        assert float(run()) == predicted(supernet, "flops")
    assert len(traces) == 1


def test_layers_that_no_gate_decides_leave_nothing_in_the_graph():
    def operations(depth: int) -> int:
        x = inputs = keras.Input((8, 8, 2))
        for _ in range(depth):
            x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(x)))
        ways = [layers.Conv2D(4, 3, name="gated")(x), x]
        ways = [layers.GlobalAveragePooling2D()(way) for way in ways]
        x = layers.Dense(2)(layers.Add()(ways))
        resource = Resource(gated(keras.Model(inputs, x), include=["gated"]), "macs")
        graph = tf.function(lambda: resource()).get_concrete_function().graph
        return len(graph.get_operations())

    assert operations(1) == operations(6)


class FlopTable(kn.costs.LatencyTable):
    """1 µs a flop and 5 µs an operation, whatever the condition."""

    def __init__(self):
        super().__init__("a desk", "an abacus", {})

    def fit(self, condition, interpolate=False, in_channels=None):
        from keras_nas.costs.latency_fit import Fit

        return Fit(1e-3, 5e-3, 1, 0.0, 0.0)


def test_latency_is_what_the_table_predicts_for_the_small_network():
    supernet = gated(kn.models.create("small_vgg", widths=[[4, 4], [6, 6], [8, 8]], hidden_width=8))
    resource = Resource(supernet, "latency_ms", table=FlopTable())
    random = np.random.default_rng(2)
    for _ in range(3):
        for gate in resource.gates:
            mask = random.random(gate.channels) < 0.6
            mask[0] = True
            gate.set_mask(mask)
        small = kn.surgery.build(supernet, kn.Architecture.from_gates(supernet))
        operations = timed_operations(read(small))
        expected = sum(1e-3 * operation.flops + 5e-3 for operation in operations)
        assert float(resource()) == pytest.approx(expected, rel=1e-9)


def test_refusals():
    supernet = gated(chain())
    with pytest.raises(UsageError, match="`what` must be one of"):
        Resource(supernet, "bytes")
    with pytest.raises(UsageError, match="`table` must be given with what='latency_ms'"):
        Resource(supernet, "latency_ms")
    with pytest.raises(KerasNasError, match="has 0 gates"):
        Resource(chain(), "flops")
    inputs = keras.Input((8, 8, 3))
    shared = layers.Conv2D(3, 3, padding="same", name="twice")
    x = layers.GlobalAveragePooling2D()(shared(shared(inputs)))
    model = gated(keras.Model(inputs, layers.Dense(2)(x)))
    with pytest.raises(KerasNasError, match="'twice' is called 2 times"):
        Resource(model, "flops")
