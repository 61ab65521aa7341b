from __future__ import annotations

import keras
import pytest
from keras import layers

from keras_nas.layers import ScaledEdge
from keras_nas.models import DsoSpace
from keras_nas.models.dso_edges import live_edges
from keras_nas.models.proxyless import proxyless
from keras_nas.regularizers import adaptive_flops
from keras_nas.search.dso.edge_gammas import (
    fixed_gammas,
    flops_gammas,
    latency_gammas,
    mac_gammas,
)
from keras_nas.search.dso.edge_graph import EdgeGraph
from tests.training import nets

PROXYLESS = {**nets.PROXYLESS, "edges": True}


def chain():
    """image ── conv1 ─┬─ e1 ── conv2 ── e2 ─┐
    └─ e3 ────────────────┴─ add ── pool ── logits"""
    inputs = keras.Input((4, 4, 2))
    a = layers.Conv2D(2, 1, use_bias=False, name="conv1")(inputs)
    b = layers.Conv2D(2, 1, use_bias=False, name="conv2")(ScaledEdge(name="e1")(a))
    x = layers.Add(name="add")([ScaledEdge(name="e2")(b), ScaledEdge(name="e3")(a)])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(3, name="logits")(x))


@pytest.fixture(scope="module")
def graph():
    return EdgeGraph(chain())


@pytest.fixture(scope="module")
def supernet():
    return nets.DSO.supernet()


@pytest.fixture(scope="module")
def space_graph(supernet):
    return EdgeGraph(supernet)


@pytest.mark.parametrize(
    ("opened", "live"),
    [
        ({"e1", "e2", "e3"}, {"e1", "e2", "e3"}),
        ({"e1", "e3"}, {"e3"}),
        ({"e2", "e3"}, {"e3"}),
        ({"e1", "e2"}, {"e1", "e2"}),
        ({"e1"}, set()),
        (set(), set()),
    ],
)
def test_live_edges(graph, opened, live):
    assert sorted(graph.edges) == ["e1", "e2", "e3"]
    assert graph.live_edges(opened) == live


def test_macs_of_what_is_alive(graph):
    # conv1 and conv2: 16 positions × 2 × 2 = 64 macs; logits 2 × 3 = 6.
    everything = graph.macs(graph.edges)
    assert everything["conv1"] == everything["conv2"] == 64
    assert sum(everything.values()) == 134
    assert sum(graph.macs({"e3"}).values()) == 70
    assert "conv2" not in graph.macs({"e3"})


def test_reconnect_takes_the_widest_way(graph):
    assert graph.reconnect({"e1": 0.1}) == []
    assert graph.reconnect({"e1": 0.3, "e2": 0.4, "e3": 0.2}) == ["e1", "e2"]
    assert graph.reconnect({"e1": 0.1, "e2": 0.4, "e3": 0.2}) == ["e3"]
    assert graph.reconnect({"e2": 0.1, "e3": 0.05}) == ["e2"]


def test_a_strided_block_keeps_its_strongest_operation():
    graph = EdgeGraph(proxyless(**PROXYLESS))
    strengths = {name: 0.1 + 0.01 * index for index, name in enumerate(graph.edges)}
    # The blocks of stride 1 have a residual; only the last one needs an operation.
    last = [name for name in graph.edges if name.startswith("stage2")]
    assert graph.reconnect(strengths) == [max(last, key=strengths.get)]


def test_live_edges_are_those_of_the_space(space_graph):
    names = nets.DSO.edge_names()
    opened = {
        "stage1_block1": [("input", "l2_sep3"), ("l1_max3", "l2_max3"), ("l2_sep3", "output")],
        "stage2_block1": [("l1_sep3", "output"), ("l1_max3", "l2_sep3")],
    }
    chosen = {names[block][edge] for block, edges in opened.items() for edge in edges}
    expected = {names[block][edge] for block, edges in opened.items() for edge in live_edges(edges)}
    assert space_graph.live_edges(chosen) == expected


def test_the_output_convolution_costs_by_what_it_reads(space_graph):
    names = nets.DSO.edge_names()["stage1_block1"]
    complete = space_graph.macs(space_graph.edges)["stage1_block1_output_conv"]
    assert complete == 64 * 16 * 4
    two = {names["l1_sep3", "output"], names["l1_max3", "output"]}
    assert space_graph.macs(two)["stage1_block1_output_conv"] == complete / 2


def test_fixed_gammas(graph):
    assert fixed_gammas(graph, 0.5)({"e1"}) == {"e1": 0.5, "e2": 0.5, "e3": 0.5}


def test_flops_gammas_follow_what_each_block_computes(space_graph):
    names = nets.DSO.edge_names()
    opened = set(names["stage2_block1"].values())
    opened.add(names["stage1_block1"]["l1_sep3", "output"])
    found = flops_gammas(space_graph, 0.1)(opened)
    # sep3 on 64 positions × 4 channels: 9 × 4 + 16 macs each; a quarter of the output's 16 × 4.
    kept = 64 * (36 + 16 + 16)
    complete = 64 * (2 * (36 + 16) + 64)
    expected = adaptive_flops(0.1, {"a": kept, "b": 1}, {"a": complete, "b": 1})
    for name in names["stage1_block1"].values():
        assert found[name] == pytest.approx(expected["a"])
    for name in names["stage2_block1"].values():
        assert found[name] == pytest.approx(0.1)
    assert set(flops_gammas(space_graph, 0.1)(set()).values()) == {0.0}


def test_mac_gammas_belong_to_the_operation(space_graph, supernet):
    names = nets.DSO.edge_names()
    found = mac_gammas(space_graph, supernet, 0.1)(set())
    assert max(found.values()) == pytest.approx(0.1)
    first = names["stage1_block1"]
    # Into l2_sep3 from anywhere: the same; a pooling moves less than a separable convolution.
    into = {found[first[s, "l2_sep3"]] for s in ("input", "l1_sep3", "l1_max3")}
    assert len(into) == 1
    assert found[first["input", "l2_max3"]] < into.pop()
    # To the output: the operation that the edge comes from.
    assert found[first["l1_max3", "output"]] == found[first["input", "l2_max3"]]


def test_mac_gammas_in_the_mobile_space_and_under_shared_edges():
    model = proxyless(**PROXYLESS)
    graph = EdgeGraph(model)
    found = mac_gammas(graph, model, 1.0)(graph.edges)
    block = "stage1_block1_edge"
    assert found[f"{block}_mb6_k3"] > found[f"{block}_mb3_k3"]
    assert found[f"{block}_mb6_k7"] > found[f"{block}_mb6_k3"]
    space = DsoSpace(
        input_shape=(8, 8, 3), stage_widths=(4, 6), stage_blocks=(1, 1), levels=2, scope="share"
    )
    shared = space.supernet()
    gammas = mac_gammas(EdgeGraph(shared), shared, 1.0)(set())
    assert gammas["edge_input_to_l2_sep5"] > gammas["edge_input_to_l2_sep3"] > 0


def test_latency_gammas_weigh_what_dies_with_an_edge(graph):
    gammas = latency_gammas(graph, 1.0, 0.25, {"conv2": 3.0, "add": 1.0})
    # Without e1 or e2 conv2's 3 ms are saved, without e3 nothing.
    assert gammas({"e1", "e2", "e3"}) == pytest.approx({"e1": 1.25, "e2": 1.25, "e3": 0.25})
    # All the same: γ₀. Closed edges get it too.
    assert gammas({"e3"}) == pytest.approx({"e1": 0.25, "e2": 0.25, "e3": 0.25})
