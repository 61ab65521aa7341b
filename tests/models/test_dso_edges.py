from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_nas.models.dso_edges import (
    block_edges,
    edges_by_block,
    live_edges,
    live_nodes,
    node_levels,
    operations_by_block,
)
from keras_nas.models.dso_operations import OPERATIONS


def test_the_papers_block_has_124_edges():
    # Levels 2 to 4 read 1 + 4, 1 + 8 and 1 + 12 nodes: 20 + 36 + 52, and 16 go to the output.
    edges = block_edges(4, OPERATIONS[:4])
    assert len(edges) == 124
    targets = [target.split("_")[0] for _, target in edges]
    counts = [targets.count(level) for level in ("l1", "l2", "l3", "l4", "output")]
    assert counts == [0, 20, 36, 52, 16]


@pytest.mark.parametrize("levels", range(1, 6))
@pytest.mark.parametrize("operations", range(1, 6))
def test_the_number_of_edges_is_the_papers(levels, operations):
    """(M² − M) N² / 2 + 2 M N − N, with M levels of N operations (section 3.1)."""
    edges = block_edges(levels, OPERATIONS[:operations])
    m, n = levels, operations
    assert len(edges) == len(set(edges)) == (m * m - m) * n * n // 2 + 2 * m * n - n


@pytest.mark.parametrize(
    ("levels", "operations", "count"), [(1, 1, 1), (2, 2, 10), (2, 4, 28), (5, 4, 196), (4, 5, 185)]
)
def test_the_number_of_edges_by_hand(levels, operations, count):
    assert len(block_edges(levels, OPERATIONS[:operations])) == count


def test_dead_ends_take_their_edges_with_them():
    #  input ── l2_a ── l3_a ── output     l1_b ── l2_b (nobody reads it)
    #  l3_b (reads nothing) ── output
    edges = [
        ("input", "l2_a"),
        ("l1_b", "l2_b"),
        ("l2_a", "l3_a"),
        ("l3_a", "output"),
        ("l3_b", "output"),
    ]
    assert live_edges(edges) == [("input", "l2_a"), ("l2_a", "l3_a"), ("l3_a", "output")]
    assert live_nodes(edges) == {"l2_a", "l3_a"}
    assert live_edges([]) == []
    assert live_edges([("input", "l2_a")]) == []


@given(st.sets(st.sampled_from(block_edges(3, OPERATIONS[:2]))))
def test_every_live_edge_lies_on_a_path(chosen):
    live = set(live_edges(chosen))
    assert live <= chosen

    def from_input(node):
        return (
            node == "input"
            or node.startswith("l1_")
            or any(from_input(source) for source, target in chosen if target == node)
        )

    def to_output(node):
        return node == "output" or any(
            to_output(target) for source, target in chosen if source == node
        )

    assert live == {(s, t) for s, t in chosen if from_input(s) and to_output(t)}


def test_node_names():
    assert node_levels(2, ["sep3", "max3"]) == [["l1_sep3", "l1_max3"], ["l2_sep3", "l2_max3"]]


def test_edges_without_a_block_are_shared_and_dead_ends_go():
    edges = {"edge_l1_sep3_to_output": 1.0, "edge_l1_max3_to_l2_avg3": 1.0}
    assert edges_by_block(edges) == {"every block": [("l1_sep3", "output")]}
    assert operations_by_block(edges) == {"every block": ["sep3"]}
