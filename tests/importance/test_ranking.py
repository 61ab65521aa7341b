"""The order in which units are given up, and how many of each group a budget leaves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import keras_nas as kn
from keras_nas.importance.landing import Widths, land, widths_of
from keras_nas.importance.ranking import RANKINGS, descending, unit_keys, unit_sums
from keras_nas.surgery.gate_groups import Group
from tests.importance.nets import gated, resnet

GROUPS = [Group({"a": np.array([[0], [1]])}), Group({"b": np.array([[0], [1], [2]])})]
SCORES = {"a": np.array([1.0, 3.0]), "b": np.array([10.0, 60.0, 20.0])}


def keys(ranking, norm="mean", groups=GROUPS, scores=SCORES):
    return [k.tolist() for k in unit_keys(None, groups, scores, ranking, norm)]


def test_sums_of_tied_channels():
    group = Group({"a": np.array([[0, 1], [2, 3]]), "b": np.array([[1], [0]])})
    scores = {"a": np.array([1.0, 2.0, 4.0, 8.0]), "b": np.array([100.0, 1000.0])}
    np.testing.assert_array_equal(unit_sums(group, scores), [1003, 112])


def test_rankings_by_hand():
    assert keys("global") == [[1, 3], [10, 60, 20]]
    assert keys("layer") == [[0.25, 0.75], [pytest.approx(1 / 6), pytest.approx(5 / 6), 0.5]]
    third = pytest.approx(1 / 3)
    assert keys("normalized") == [[0.5, 1.5], [third, 2, pytest.approx(2 / 3)]]
    assert keys("normalized", "max") == [[third, 1], [pytest.approx(1 / 6), 1, third]]
    root = pytest.approx(3 / np.sqrt(5))
    assert keys("normalized", "l2")[0] == [pytest.approx(1 / np.sqrt(5)), root]


def test_orders_by_hand():
    def order(ranking):
        return descending([np.array(k) for k in keys(ranking)]).tolist()

    assert order("global") == [[1, 1], [1, 2], [1, 0], [0, 1], [0, 0]]
    assert order("layer") == [[1, 1], [0, 1], [1, 2], [0, 0], [1, 0]]
    assert order("normalized") == [[1, 1], [0, 1], [1, 2], [0, 0], [1, 0]]


def test_kinds_share_one_norm():
    """Groups of the ResNet: 3×3 alone (two of them within blocks, one stream), 3×3 with 1×1."""
    supernet = gated(resnet())
    groups = kn.importance.tied_groups(supernet)
    scores = {g.name: np.ones(g.channels) for g in kn.gates.find(supernet)}
    found = unit_keys(supernet, groups, scores, "kind", "mean")
    # Sums: 2 (six units), 1 (five), 1 (seven); 2 (eight units), a kind of its own.
    mean = (6 * 2 + 5 + 7) / 18
    for values, expected in zip(found, [2 / mean, 1 / mean, 1 / mean, 1], strict=True):
        np.testing.assert_allclose(values, expected)


def test_no_scores_but_zeros_are_in_order_too():
    zeros = {"a": np.zeros(2), "b": np.zeros(3)}
    assert keys("normalized", scores=zeros) == [[0, 0], [0, 0, 0]]
    order = descending([np.zeros(2), np.zeros(3)])
    assert order.tolist() == [[1, 0], [0, 0], [1, 1], [0, 1], [1, 2]]


@given(st.integers(0, 10_000), st.sampled_from(RANKINGS[:3]))
def test_within_a_group_the_scores_decide(seed, ranking):
    random = np.random.default_rng(seed)
    scores = {"a": random.random(2), "b": random.random(3)}
    for values, group in zip(keys(ranking, scores=scores), GROUPS, strict=True):
        np.testing.assert_array_equal(np.argsort(values), np.argsort(unit_sums(group, scores)))


@given(st.integers(0, 10_000), st.floats(1e-3, 1e3))
def test_normalised_and_by_layer_the_size_of_a_layers_scores_is_nothing(seed, factor):
    random = np.random.default_rng(seed)
    scores = {"a": random.random(2), "b": random.random(3)}
    larger = {"a": factor * scores["a"], "b": scores["b"]}
    for ranking in ("layer", "normalized"):
        for one, other in zip(
            keys(ranking, scores=scores), keys(ranking, scores=larger), strict=True
        ):
            np.testing.assert_allclose(one, other, rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("ranking", "local", "`ranking` must be one of"), ("norm", "l1", "`norm` must be one of")],
)
def test_unknown_rankings_are_refused(name, value, message):
    options = {"ranking": "layer", "norm": "mean", name: value}
    with pytest.raises(kn.KerasNasError, match=message):
        unit_keys(None, GROUPS, SCORES, **options)


def test_widths_by_hand():
    assert widths_of(GROUPS[1], 1, 1, 0.0) == Widths(3, 1, 1)
    assert widths_of(GROUPS[1], 2, 1, 0.0) == Widths(3, 2, 2)
    assert widths_of(GROUPS[1], 1, 0, 0.0) == Widths(3, 1, 0)
    assert widths_of(GROUPS[1], 1, 1, 0.5) == Widths(3, 1, 2)
    double = Group({"a": np.arange(20).reshape(10, 2), "b": np.arange(10)[:, None]})
    assert widths_of(double, 4, 1, 0.0) == Widths(10, 4, 4)
    pairs = Group({"a": np.arange(20).reshape(10, 2)})
    assert widths_of(pairs, 4, 5, 0.0) == Widths(10, 2, 4)
    assert [Widths(10, 4, 4).nearest(n) for n in (0, 5, 6, 9, 10)] == [4, 4, 8, 8, 10]
    assert [Widths(10, 4, 4).next(n) for n in (4, 8, 10)] == [8, 10, 10]
    assert Widths(3, 8, 3).nearest(1) == 3


def refuse(least):
    return kn.KerasNasError(f"least {least}")


@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(1, 5)), min_size=1, max_size=5),
    st.lists(st.integers(1, 50), min_size=5, max_size=5),
    st.floats(0, 1),
    st.integers(0, 1000),
)
def test_landing_is_under_the_target_by_less_than_any_one_step(shapes, costs, share, seed):
    widths = [Widths(units, step, min(step, units)) for units, step in shapes]
    order = np.repeat(np.arange(len(widths)), [w.units for w in widths])
    order = np.random.default_rng(seed).permutation(order)

    def price(counts):
        return sum(n * c for n, c in zip(counts, costs, strict=False)) + counts[0] * counts[-1]

    full, least = (price([getattr(w, name) for w in widths]) for name in ("units", "least"))
    target = least + share * (full - least)
    found = land(order, widths, price, target, refuse)
    assert price(found) <= target
    for i, w in enumerate(widths):
        assert w.least <= found[i] <= w.units
        assert found[i] % w.step == 0 or found[i] == w.units
        wider = [w.next(n) if i == j else n for j, n in enumerate(found)]
        assert found[i] == w.units or price(wider) > target or price(found) >= 0.999 * target


def test_steps_that_cost_nothing_are_taken_many_at_a_time():
    """A peak is the larger of two layers': by hand, both begin at 100, and 0 goes on to 905."""
    widths = [Widths(1000, 1, 0), Widths(1000, 1, 0)]
    asked = []

    def price(counts):
        asked.append(counts)
        return max(counts[0], 9 * counts[1])

    order = np.tile([1, 0], 1000)
    assert land(order, widths, price, 905, refuse) == (905, 100)
    assert len(asked) < 60


def test_landing_keeps_the_order():
    """Costs 1 each: of the order b a b a b the first three are kept."""
    widths = [Widths(2, 1, 0), Widths(3, 1, 0)]
    assert land(np.array([1, 0, 1, 0, 1]), widths, sum, 3, refuse) == (1, 2)
    with pytest.raises(kn.KerasNasError, match="least 5"):
        land(np.array([1, 0]), [Widths(2, 1, 2), Widths(3, 1, 3)], sum, 4, refuse)
