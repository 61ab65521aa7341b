"""The runtime's way of cutting a graph, by hand and as properties."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.accelerators.file_graph import Node
from export.accelerators.partition import Part, partition


def nodes(*edges: tuple[list[int], int]) -> list[Node]:
    """Nodes by what they read and make; tensor 0 is the graph's input."""
    return [Node("CONV_2D", 1, tuple(inputs), (output,)) for inputs, output in edges]


def test_a_chain_is_cut_on_both_sides_of_what_is_left():
    chain = nodes(([0], 1), ([1], 2), ([2], 3), ([3], 4))
    assert partition(chain, {0, 1, 3}) == [
        Part(True, (0, 1)), Part(False, (2,)), Part(True, (3,)),
    ]  # fmt: skip
    assert partition(chain, range(4)) == [Part(True, (0, 1, 2, 3))]
    assert partition(chain, ()) == [Part(False, (0, 1, 2, 3))]
    assert partition([], ()) == []


def test_a_part_goes_on_past_nodes_of_the_other_kind():
    """Two branches of one input: the left node 1 does not hold up the branch of 0 and 2.

        0 ── 2 ──┐
        1 ── 3 ──┴─ 4        1 is left

    The first part takes 0 and 2; 3 must wait for 1, so 3 and 4 are a second part.
    """
    branches = nodes(([0], 1), ([0], 2), ([1], 3), ([2], 4), ([3, 4], 5))
    assert partition(branches, {0, 2, 3, 4}) == [
        Part(True, (0, 2)), Part(False, (1,)), Part(True, (3, 4)),
    ]  # fmt: skip


def test_what_is_left_at_the_entrance_costs_no_second_part():
    """The first node is left and decides the first part's kind; the rest is one part."""
    graph = nodes(([0], 1), ([0], 2), ([1, 2], 3))
    assert partition(graph, {1, 2}) == [Part(False, (0,)), Part(True, (1, 2))]


def test_two_left_branches_run_together():
    """Both left nodes are ready before either's reader, so they are one part, not two."""
    graph = nodes(([0], 1), ([1], 2), ([1], 3), ([2], 4), ([3], 5), ([4, 5], 6))
    assert partition(graph, {0, 3, 4, 5}) == [
        Part(True, (0,)), Part(False, (1, 2)), Part(True, (3, 4, 5)),
    ]  # fmt: skip


def test_a_later_node_may_join_an_earlier_part():
    """Inputs that are left out (-1) and constants are always ready."""
    graph = [
        Node("CONV_2D", 1, (0, 9, -1), (1,)),
        Node("GATHER", 1, (1, 9), (2,)),
        Node("CONV_2D", 1, (0, 9, -1), (3,)),
        Node("ADD", 1, (2, 3), (4,)),
    ]
    parts = partition(graph, {0, 2, 3})
    assert [part.nodes for part in parts] == [(0, 2), (1,), (3,)]


def test_a_graph_out_of_order_is_refused():
    with pytest.raises(ValueError, match=r"nodes \[0, 1\] read what no node"):
        partition(nodes(([2], 1), ([1], 2)), {0})


@st.composite
def graphs(draw) -> tuple[list[Node], set[int]]:
    count = draw(st.integers(1, 12))
    reads = [
        draw(st.lists(st.integers(0, number), min_size=1, max_size=3)) for number in range(count)
    ]
    made = nodes(*((inputs, number + 1) for number, inputs in enumerate(reads)))
    return made, draw(st.sets(st.integers(0, count - 1)))


@given(graphs())
def test_parts_hold_every_node_once_alternate_and_can_run_in_turn(graph):
    made, taken = graph
    parts = partition(made, taken)
    assert sorted(place for part in parts for place in part.nodes) == list(range(len(made)))
    kinds = [part.taken for part in parts]
    assert all(one != other for one, other in itertools.pairwise(kinds))
    ready = {0}
    for part in parts:
        for place in part.nodes:
            assert (place in taken) == part.taken
            assert ready.issuperset(made[place].inputs)
            ready.update(made[place].outputs)
