"""Budgets: kept exactly, by networks that surgery builds exactly."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

import keras_nas as kn
from export import tflite
from keras_nas.costs import Condition, LatencyTable
from keras_nas.costs.latency_fit import Point
from keras_nas.costs.latency_operations import timed_operations
from keras_nas.importance import Budget, Latency, prune, prune_in_steps, score, shares, start_logits
from keras_nas.layers import ScaledEdge, ScaledSigmoidGate, STEGate
from tests.importance.nets import NETS, gated, resnet
from tests.surgery.rebuilt import close_some

X = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
TARGETS = ("macs", "flops", "params")


def check_built(supernet, architecture):
    """Surgery equals the gated model, costs what was said, and aligns nothing."""
    small = kn.surgery.build(supernet, architecture)
    a, b = np.asarray(supernet(X, training=False)), np.asarray(small(X, training=False))
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(a).max())
    costs = kn.costs.count(small)
    for what in TARGETS:
        assert getattr(costs, what) == architecture.costs["after"][what]
    kinds = {type(operation).__name__ for operation in small.operations}
    assert not kinds & {"Pad", "Take", "GetItem"}
    return small, costs


@pytest.mark.parametrize("ranking", ["layer", "global", "normalized", "kind"])
@pytest.mark.parametrize("net", NETS)
def test_budgets_are_met_within_one_channel(net, ranking):
    supernet = gated(NETS[net]())
    scores = score(supernet, "l1")
    what = TARGETS[["layer", "global", "normalized", "kind"].index(ranking) % 3]
    before = getattr(kn.costs.count(supernet), what)
    architecture = prune(supernet, scores, **{f"target_{what}": "0.5x"}, ranking=ranking)
    _, costs = check_built(supernet, architecture)
    reached = getattr(costs, what)
    assert reached <= 0.5 * before
    for group in kn.importance.tied_groups(supernet):
        masks = {g.name: g.mask() for g in kn.gates.find(supernet)}
        state = [masks[name][c].all(axis=1) for name, c in group.channels.items()]
        np.testing.assert_array_equal(np.all(state, axis=0), np.any(state, axis=0))
        closed = np.flatnonzero(~np.all(state, axis=0))
        if not len(closed):
            continue
        kept = dict(masks)
        for name, channels in group.channels.items():
            kept[name] = kept[name].copy()
            kept[name][channels[closed[0]]] = True
        more = kn.Architecture({n: np.flatnonzero(m).tolist() for n, m in kept.items()}, {})
        wider = getattr(kn.surgery.predict_costs(supernet, more), what)
        assert wider > 0.5 * before or reached >= 0.999 * 0.5 * before


def test_by_layer_every_group_gives_up_the_same_share():
    inputs = keras.Input((8, 8, 3))
    x = inputs
    for name in "abc":
        x = layers.Conv2D(16, 3, padding="same", name=name)(x)
    supernet = gated(keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x))))
    architecture = prune(supernet, score(supernet), target_macs="0.4x")
    kept = [len(channels) for channels in architecture.kept_channels.values()]
    assert max(kept) - min(kept) <= 1
    scores = score(supernet)
    for name, channels in architecture.kept_channels.items():
        closed = np.delete(scores[name], channels)
        assert scores[name][channels].min() >= closed.max()


def test_the_best_channels_stay_and_tied_ones_by_their_sum():
    supernet = gated(resnet())
    scores = {gate.name: np.zeros(gate.channels) for gate in kn.gates.find(supernet)}
    scores["stem_gate"][:] = [6, 0, 0, 0, 0, 1]
    scores["a2_gate"][:] = [0, 5, 0, 0, 0, 3]
    architecture = prune(supernet, scores, target_macs="0.35x", min_channels=3)
    assert architecture.kept_channels["stem_gate"] == [0, 1, 5]
    assert architecture.kept_channels["a2_gate"] == [0, 1, 5]


def test_untied_masks_differ_and_surgery_stays_exact():
    supernet = gated(resnet())
    architecture = prune(supernet, score(supernet), target_macs="0.5x", tied=False)
    kept = architecture.kept_channels
    assert kept["stem_gate"] != kept["a2_gate"]
    small = kn.surgery.build(supernet, architecture)
    np.testing.assert_allclose(small(X), supernet(X), atol=1e-5)
    assert kn.costs.count(small).macs <= 0.5 * kn.costs.count(supernet).macs


def test_floors_and_multiples():
    supernet = gated(resnet())
    scores = score(supernet, "random", seed=3)
    architecture = prune(supernet, scores, target_macs="0.6x", round_to=4, ranking="global")
    for name, kept in architecture.kept_channels.items():
        assert len(kept) % 4 == 0 or len(kept) == architecture.channels[name]
        assert kept
    check_built(supernet, architecture)
    architecture = prune(supernet, scores, target_macs="0.8x", min_share=0.7, ranking="global")
    for name, kept in architecture.kept_channels.items():
        assert len(kept) >= 0.7 * architecture.channels[name]


def test_a_number_and_a_share_of_the_open_network():
    supernet = gated(resnet())
    full = kn.costs.count(supernet).params
    one = prune(supernet, score(supernet), target_params=full // 2)
    other = prune(supernet, score(supernet), target_params="0.5x")
    assert one.kept_channels == other.kept_channels
    assert one.method == "importance"
    assert one.settings["target_params"] == full // 2
    everything = prune(supernet, score(supernet), target_params="1x")
    assert everything.kept_share() == 1


def test_an_unreachable_target_says_the_least():
    supernet = gated(resnet())
    least = kn.Architecture({g.name: [0] for g in kn.gates.find(supernet)}, {})
    macs = kn.surgery.predict_costs(supernet, least).macs
    with pytest.raises(kn.KerasNasError, match=f"`target_macs` must be {macs:,.6g} or more"):
        prune(supernet, score(supernet), target_macs=macs - 1)
    architecture = prune(supernet, score(supernet), target_macs=macs)
    assert {len(kept) for kept in architecture.kept_channels.values()} == {1}


def test_whole_branches_may_go():
    supernet = gated(resnet())
    scores = score(supernet)
    scores["a1_gate"] *= 1e-6
    architecture = prune(supernet, scores, target_macs="0.3x", min_channels=0, ranking="global")
    assert architecture.kept_channels["a1_gate"] == []
    check_built(supernet, architecture)


def test_a_network_is_never_left_without_a_way_through():
    """Here closed stems leave constants that are not 0 behind, which the borders make live."""
    supernet = gated(resnet())
    macs = 8 * 8 * 27 + 4 * 4 + 3  # the stem and the projection of one channel, the classifier
    with pytest.raises(kn.KerasNasError, match=f"`target_macs` must be {macs:,} or more"):
        prune(supernet, score(supernet), target_macs=macs - 1, min_channels=0)
    architecture = prune(supernet, score(supernet), target_macs=macs, min_channels=0)
    kept = {name: len(channels) for name, channels in architecture.kept_channels.items()}
    assert kept["stem_gate"] == kept["short_gate"] == 1
    assert kept["a1_gate"] == kept["b1_gate"] == 0
    small, _ = check_built(supernet, architecture)
    assert np.ptp(np.asarray(small(X)), axis=0).max() > 0


def test_a_product_of_disjoint_masks_is_refused():
    inputs = keras.Input((8, 8, 3))
    a, b = (
        ScaledSigmoidGate(name=f"{name}_gate", mode="off")(layers.Conv2D(2, 1, name=name)(inputs))
        for name in "ab"
    )
    x = layers.GlobalAveragePooling2D()(layers.Multiply()([a, b]))
    model = keras.Model(inputs, layers.Dense(3)(x))
    scores = {"a_gate": [0, 1], "b_gate": [1, 0]}
    with pytest.raises(kn.KerasNasError, match="would no longer depend on its input"):
        prune(model, scores, target_macs="0.4x", tied=False)
    architecture = prune(model, scores, target_macs="0.6x")
    assert architecture.kept_channels == {"a_gate": [0], "b_gate": [0]}
    check_built(model, architecture)


def test_what_is_closed_stays_closed_without_reopen():
    supernet = gated(resnet())
    gates = {gate.name: gate for gate in kn.gates.find(supernet)}
    for gate in gates.values():
        gate.set_mask(np.arange(gate.channels) >= 2)
    scores = {name: -np.arange(gate.channels) for name, gate in gates.items()}
    architecture = prune(supernet, scores, target_macs="0.3x", reopen=False)
    for kept in architecture.kept_channels.values():
        assert kept[0] == 2
    architecture = prune(supernet, scores, target_macs="0.3x")
    assert all(kept[0] == 0 for kept in architecture.kept_channels.values())


def test_steps_end_where_they_should_and_train_in_between():
    supernet = gated(resnet())
    seen = []

    def train(model):
        assert model is supernet
        assert not any(gate.trainable for gate in kn.gates.find(model))
        masks = {gate.name: gate.mask() for gate in kn.gates.find(model)}
        model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
        model.fit(X, np.arange(2), epochs=1, verbose=0)
        for gate in kn.gates.find(model):
            np.testing.assert_array_equal(gate.mask(), masks[gate.name])
        seen.append(masks)

    targets = shares(0.25, 2)
    assert targets == ["0.5x", "0.25x"]
    architecture = prune_in_steps(supernet, "l1", train, target_macs=targets)
    assert len(seen) == 1
    assert all(gate.trainable for gate in kn.gates.find(supernet))
    for name, kept in architecture.kept_channels.items():
        assert seen[0][name][kept].all()
    _, costs = check_built(supernet, architecture)
    full = kn.costs.count(supernet).macs
    assert 0.2 * full < costs.macs <= 0.25 * full
    assert architecture.settings["target_macs"] == [0.5 * full, 0.25 * full]


@pytest.mark.parametrize("shares_of", [(0.5, 0.9), (0.9, 0.5), (0.5, 0.5)])
def test_several_budgets_hold_at_once_and_one_of_them_just(shares_of):
    supernet = gated(resnet())
    full = kn.costs.count(supernet)
    macs, params = shares_of
    architecture = prune(
        supernet, score(supernet), target_macs=f"{macs}x", target_params=int(params * full.params)
    )
    _, costs = check_built(supernet, architecture)
    found = {"macs": costs.macs / (macs * full.macs), "params": costs.params / params / full.params}
    assert 0.93 < max(found.values()) <= 1
    assert architecture.settings["target_macs"] == macs * full.macs
    assert architecture.settings["target_params"] == int(params * full.params)
    alone = prune(supernet, score(supernet), target_macs=f"{macs}x")
    kept = [sum(map(len, a.kept_channels.values())) for a in (architecture, alone)]
    assert kept[0] < kept[1] if shares_of == (0.9, 0.5) else kept[0] <= kept[1]


def test_bytes_of_the_file_and_the_arena_are_budgets(tmp_path):
    supernet = gated(resnet())
    full = kn.costs.arena_bytes(resnet(), "int8")
    architecture = prune(
        supernet, score(supernet), target_bytes="float32:9.5k", target_ram="int8:0.8x", align="pad"
    )
    small, _ = check_built(supernet, architecture)
    real = tflite.convert(small, tmp_path / "small.tflite").size_bytes
    assert real <= 9500
    assert kn.costs.arena_bytes(small, "int8") <= 0.8 * full
    assert real > 0.9 * 9500 or kn.costs.arena_bytes(small, "int8") > 0.7 * full
    assert architecture.settings["target_bytes"] == "float32:9500"
    assert architecture.settings["target_ram"] == f"int8:{0.8 * full:.0f}"
    with pytest.raises(kn.KerasNasError, match=r"`target_bytes` must be int8:[\d,]+ or more: "):
        prune(supernet, score(supernet), target_bytes="int8:1k")


def test_the_least_is_kept_where_a_budget_need_not_hold(caplog):
    supernet = gated(resnet())
    architecture = prune(supernet, score(supernet), target_macs=9, strict=False)
    assert {len(kept) for kept in architecture.kept_channels.values()} == {1}
    assert "or more: what is left of 'resnet'" in caplog.text
    check_built(supernet, architecture)


def test_steps_of_two_budgets_go_together():
    supernet = gated(resnet())
    options = {"target_macs": ["0.8x", "0.5x"], "target_params": ["0.9x", "0.4x"]}
    architecture = prune_in_steps(supernet, "l1", lambda model: None, **options)
    full, (_, costs) = kn.costs.count(supernet), check_built(supernet, architecture)
    assert costs.macs <= 0.5 * full.macs
    assert costs.params <= 0.4 * full.params
    assert architecture.settings["target_params"] == [0.9 * full.params, 0.4 * full.params]
    options["target_params"].append("0.3x")
    with pytest.raises(kn.KerasNasError, match="all of them equally long"):
        prune_in_steps(supernet, "l1", lambda model: None, **options)


def test_milliseconds_by_a_table():
    supernet = gated(resnet())
    operations = timed_operations(kn.graph.read(resnet(), [(1, 8, 8, 3)]))
    points = {o.condition: [Point(1, 1, 1000, 1e-3), Point(1, 1, 2000, 1.5e-3)] for o in operations}
    table = LatencyTable("host", "test", points)
    full = table.predict(resnet())
    architecture = prune(
        supernet, score(supernet), target_latency_ms="0.8x", latency=Latency(table)
    )
    small = kn.surgery.build(supernet, architecture)
    assert 0.75 * full < table.predict(small) <= 0.8 * full
    with pytest.raises(kn.KerasNasError, match="`latency` must be given"):
        prune(supernet, score(supernet), target_latency_ms="0.8x")
    assert isinstance(operations[0].condition, Condition)


@pytest.mark.parametrize("name", sorted(NETS))
def test_milliseconds_are_those_of_the_built_network_tiles_included(name):
    """Where nothing is gathered, with kernels that make 4 channels at once."""
    model = NETS[name]()
    conditions = {
        operation.condition
        for operation in timed_operations(kn.graph.read(model, [(1, *model.inputs[0].shape[1:])]))
    }
    stairs = [Point(8, n, 100 * n, 1e-3 * -(-n // 4)) for n in range(1, 9)]
    table = LatencyTable("host", "test", dict.fromkeys(conditions, stairs))
    assert {table.fit(each).tile for each in conditions if each.operation == "conv"} == {4}
    supernet = gated(model)
    budget = Budget(supernet, {"latency_ms": "0.5x"}, Latency(table), "never")
    assert budget.full["latency_ms"] == pytest.approx(table.predict(model))
    close_some(supernet, 0.5, 4)
    masks = {gate.name: gate.mask() for gate in kn.gates.find(supernet)}
    architecture = kn.Architecture.from_gates(supernet, align="never")
    small = kn.surgery.build(supernet, architecture, align="never")
    assert budget.costs(masks)["latency_ms"] == pytest.approx(table.predict(small))


@pytest.mark.parametrize("align", ["auto", "pad"])
def test_milliseconds_count_what_surgery_writes_at_joins(align):
    supernet = gated(resnet())
    operations = timed_operations(kn.graph.read(resnet(), [(1, 8, 8, 3)]))
    points = {o.condition: [Point(1, 1, 1000, 1e-3), Point(1, 1, 2000, 1.5e-3)] for o in operations}
    points[Condition("gather", 8, 8)] = [Point(1, 1, 100, 1e-3)]
    table = LatencyTable("host", "test", points)
    budget = Budget(supernet, {"latency_ms": "0.5x"}, Latency(table), align)
    close_some(supernet, 0.5, 4)
    masks = {gate.name: gate.mask() for gate in kn.gates.find(supernet)}
    small = kn.surgery.build(
        supernet, kn.Architecture.from_gates(supernet, align=align), align=align
    )
    assert budget.costs(masks)["latency_ms"] == pytest.approx(table.predict(small))


def test_scaled_edges_are_left_as_they_are():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, padding="same", name="a")(inputs)
    x = ScaledSigmoidGate(name="a_gate", mode="off")(x)
    y = layers.Conv2D(6, 1, name="b")(x)
    y = ScaledEdge(name="edge", mode="hard")(ScaledSigmoidGate(name="b_gate", mode="off")(y))
    x = layers.Add()([x, y])
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    model.get_layer("edge").scale.assign([0.5])
    architecture = prune(model, score(model), target_macs="0.5x")
    assert architecture.kept_edges == {"edge": 0.5}
    check_built(model, architecture)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "One of `target_params`.*Received: none"),
        (
            {"target_macs": 9.0, "target_params": "0.01x"},
            r"`target_params` must be [\d,]+ or more and `target_macs` must be [\d,.e+]+ or more: "
            r".*Received: [\d.]+ \(the full network has [\d,.]+\), 9 \(the full network has",
        ),
        ({"target_macs": "half"}, "`target_macs` must be a number above 0"),
        ({"target_macs": "1.5x"}, "`target_macs` must be a number above 0"),
        ({"target_macs": "0.5x", "round_to": 0}, "`round_to` must be 1 or more"),
        ({"target_macs": "0.5x", "min_share": 2}, "`min_share` must be from 0 to 1"),
        ({"target_macs": "0.5x", "min_channels": -1}, "`min_channels` must be 0 or more"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    supernet = gated(resnet())
    with pytest.raises(kn.KerasNasError, match=message):
        prune(supernet, score(supernet), **options)


def test_steps_need_a_sequence():
    supernet = gated(resnet())
    with pytest.raises(kn.KerasNasError, match="a target that is a sequence"):
        prune_in_steps(supernet, "l1", lambda model: None, target_macs="0.5x")
    with pytest.raises(kn.KerasNasError, match="`last` must be above 0"):
        shares(1.5, 2)


@pytest.mark.parametrize("gate", [ScaledSigmoidGate, STEGate])
def test_logits_start_in_the_order_of_the_scores(gate):
    supernet = gated(resnet(), gate=gate)
    scores = score(supernet, "random", seed=1)
    start_logits(supernet, scores, low=-1.0, high=2.0, ranking="global")
    found = {g.name: g.scores() for g in kn.gates.find(supernet)}
    np.testing.assert_allclose(found["stem_gate"], found["a2_gate"])
    np.testing.assert_array_equal(np.argsort(found["a1_gate"]), np.argsort(scores["a1_gate"]))
    every = np.unique(np.concatenate(list(found.values())).round(5))
    np.testing.assert_allclose(every, np.linspace(-1, 2, 6 + 5 + 7 + 8), atol=1e-5)
    sums = scores["stem_gate"] + scores["a2_gate"]
    best = max(sums.max(), scores["a1_gate"].max(), scores["b1_gate"].max())
    top = (scores["short_gate"] + scores["b2_gate"]).max()
    name = "stem_gate" if sums.max() == max(best, top) else "short_gate"
    assert found[name].max() == pytest.approx(2)


def test_logits_that_start_as_they_are_keep_every_gate_open():
    supernet = gated(resnet())
    start_logits(supernet, score(supernet))
    assert all(gate.mask().all() for gate in kn.gates.find(supernet))
    assert {gate.mode for gate in kn.gates.find(supernet)} == {"off"}
    with pytest.raises(kn.KerasNasError, match="`low` must be at most `high`"):
        start_logits(supernet, score(supernet), low=1, high=0)
