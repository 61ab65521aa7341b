"""Gates that the layers of one stream share: found by the analysis, exact, nothing to align."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

import keras_nas as kn
from keras_nas.gates.places import ORDERS
from keras_nas.layers import ScaledEdge, ScaledSigmoidGate, STEGate
from keras_nas.regularizers import GateSum
from keras_nas.search import DnalConfig, FgnasConfig
from keras_nas.search.dnal import Dnal
from tests.importance.nets import NETS, densenet, mobilenet, resnet
from tests.random_models import random_model, randomize
from tests.surgery.counted_operations import moves
from tests.surgery.rebuilt import close_some, images, is_rebuilt, outputs

STREAMS = {
    "resnet": [("stem", "a2"), ("b2", "short")],
    "mobilenet": [
        ("stem", "a_project", "b_project"),
        ("a_expand", "a_depth", "a_excite"),
        ("b_expand", "b_depth", "b_excite"),
    ],
    "densenet": [],
}


@pytest.mark.parametrize("name", NETS)
def test_streams_are_what_joins_and_depthwise_convolutions_tie(name):
    assert kn.surgery.streams(NETS[name]()) == STREAMS[name]


def shared(model, gate=ScaledSigmoidGate, **options):
    """The model with a gate for each stream."""
    return kn.gates.insert(model, gate, streams=kn.surgery.streams(model), **options)


@pytest.mark.parametrize(
    ("order", "gate"), [*((order, ScaledSigmoidGate) for order in ORDERS), (ORDERS[2], STEGate)]
)
@pytest.mark.parametrize("build", [resnet, mobilenet, densenet])
def test_surgery_of_shared_gates_is_exact_and_moves_nothing(build, order, gate):
    model = build()
    randomize(model)
    supernet = shared(model, gate, order=order)
    x = images(model)
    np.testing.assert_array_equal(supernet(x), model(x))
    close_some(supernet)
    # A BatchNormalization behind a gate turns its zeros into constants, which borders keep alive.
    align = "never" if order == "conv_gate_bn_relu" or build is densenet else "auto"
    assert not moves(is_rebuilt(supernet, align))


def test_a_residual_network_by_hand():
    """The stem and a2 write the stream of 6, b2 and the projection that of 8; a1, b1 are free."""
    model = resnet()
    randomize(model)
    supernet = shared(model)
    found = {gate.name: gate for gate in kn.gates.find(supernet)}
    assert {name: gate.channels for name, gate in found.items()} == {
        "stem_gate": 6, "a1_gate": 5, "b1_gate": 7, "b2_gate": 8,
    }  # fmt: skip
    found["stem_gate"].set_mask([1, 0, 1, 1, 0, 1])
    found["a1_gate"].set_mask([0, 1, 1, 0, 0])
    found["b1_gate"].set_mask([1, 1, 1, 0, 0, 0, 0])
    found["b2_gate"].set_mask([0, 1, 0, 1, 0, 1, 0, 1])
    small = is_rebuilt(supernet)
    kernels = {
        name: small.get_layer(name).kernel.shape[2:]
        for name in ("stem", "a1", "a2", "b1", "b2", "short")
    }
    assert kernels == {
        "stem": (3, 4), "a1": (4, 2), "a2": (2, 4), "b1": (4, 3), "b2": (3, 4), "short": (4, 4),
    }  # fmt: skip
    at_8, at_4 = 9 * (3 * 4 + 4 * 2 + 2 * 4) * 64, (9 * (4 * 3 + 3 * 4) + 4 * 4) * 16
    assert kn.costs.count(small).macs == at_8 + at_4 + 4 * 3
    assert not moves(small)


def test_one_edge_may_scale_a_stream():
    model = resnet()
    randomize(model)
    supernet = shared(model, ScaledEdge)
    for gate, scale in zip(kn.gates.find(supernet), (0.5, 0.0, 2.0, 1.5), strict=True):
        gate.mode = "hard"
        gate.scale = [scale]
    is_rebuilt(supernet)


def test_a_penalty_counts_the_gate_of_a_stream_once():
    model = resnet()
    gates = kn.gates.find(shared(model))
    assert float(GateSum(1.0)(gates)) == pytest.approx(0.5 * (6 + 5 + 7 + 8))


def test_a_budget_and_multiples_hold_for_the_stream():
    model = mobilenet()
    randomize(model)
    supernet = shared(model)
    scores = kn.importance.score(supernet, "l1")
    architecture = kn.importance.prune(supernet, scores, target_macs="0.6x", round_to=2)
    small = is_rebuilt(supernet)
    assert kn.costs.count(small).macs <= 0.6 * kn.costs.count(model).macs
    assert not moves(small)
    assert all(len(kept) % 2 == 0 for kept in architecture.kept_channels.values())
    assert len(kn.importance.tied_groups(supernet)) == len(kn.gates.find(supernet))


def test_a_shared_gate_is_saved_and_loaded(tmp_path):
    model = mobilenet()
    randomize(model)
    supernet = shared(model)
    close_some(supernet)
    supernet.save(tmp_path / "supernet.keras")
    loaded = keras.saving.load_model(tmp_path / "supernet.keras")
    x = images(model)
    np.testing.assert_array_equal(loaded(x), supernet(x))
    assert [gate.name for gate in kn.gates.find(loaded)] == [
        "stem_gate", "a_expand_gate", "b_expand_gate",
    ]  # fmt: skip
    is_rebuilt(loaded)


def test_shared_gates_keep_to_mixed_precision():
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = resnet()
    finally:
        keras.mixed_precision.set_global_policy("float32")
    randomize(model)
    supernet = shared(model)
    assert {gate.compute_dtype for gate in kn.gates.find(supernet)} == {"float16"}
    close_some(supernet)
    assert not moves(is_rebuilt(supernet, atol=2e-2))


def test_layers_without_a_gate_are_passed_over():
    supernet = shared(mobilenet(), exclude=["a_expand", "stem"])
    assert [gate.name for gate in kn.gates.find(supernet)] == [
        "a_depth_gate", "a_project_gate", "b_expand_gate",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("streams", "message"),
    [
        ([("stem", "a3")], r"`streams` must name layers of 'resnet'\. Received: 'a3' in"),
        ([("stem", "a2"), ("a2", "b2")], "one of `streams` only. Received: 'a2' in two"),
        ([("stem", "a1")], r"as many channels as each other\. Received: 'stem' and 'a1' with"),
    ],
)
def test_streams_that_are_none_are_refused(streams, message):
    with pytest.raises(kn.errors.UsageError, match=message):
        kn.gates.insert(resnet(), ScaledSigmoidGate, streams=streams)


def test_layers_that_meet_in_part_stay_apart():
    inputs = keras.Input((6, 6, 3))
    a = layers.Conv2D(2, 1, name="a")(inputs)
    b = layers.Conv2D(2, 1, name="b")(inputs)
    c = layers.Conv2D(4, 1, name="c")(inputs)
    x = layers.Add()([layers.Concatenate()([a, b]), c])
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, name="d")(x)
    x = layers.Conv2D(8, 3, groups=4, name="e")(x)
    x = layers.Add()([x, keras.ops.flip(layers.Conv2D(8, 5, name="f")(inputs), -1)])
    model = keras.Model(inputs, layers.Dense(1)(layers.Flatten()(x)))
    assert kn.surgery.streams(model) == []


def test_a_search_takes_streams_by_a_setting():
    supernet = Dnal(DnalConfig(streams="groups")).make_supernet(resnet())
    assert len(kn.gates.find(supernet)) == 4
    assert len(kn.gates.find(Dnal(DnalConfig()).make_supernet(resnet()))) == 6
    with pytest.raises(kn.errors.UsageError, match="`streams` must be 'branches' with `kernels`"):
        FgnasConfig(streams="groups", kernels=(5,))


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6), order=st.sampled_from(ORDERS))
def test_shared_gates_of_random_graphs_are_exact(seed, order):
    model = random_model(seed)
    randomize(model, seed)
    supernet = shared(model, order=order)
    x = images(model, 2)
    for a, b in zip(outputs(model, x), outputs(supernet, x), strict=True):
        np.testing.assert_array_equal(a, b)
    close_some(supernet, seed=seed)
    is_rebuilt(supernet)
