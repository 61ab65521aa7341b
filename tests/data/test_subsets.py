"""Choosing examples: exact sizes, even classes, disjoint parts, the same under a seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_nas.data.subsets import balanced_subset, ratio_share, split, split_indices
from keras_nas.errors import KerasNasError

LABELS = st.lists(st.integers(0, 4), min_size=2, max_size=80).map(np.array)


@given(LABELS, st.data())
def test_a_subset_is_as_even_as_the_classes_allow(labels: np.ndarray, data: st.DataObject) -> None:
    examples = data.draw(st.integers(1, len(labels)))
    chosen = balanced_subset(labels, examples, seed=3)
    assert len(set(chosen.tolist())) == examples
    assert np.all(np.diff(chosen) > 0)
    counts, available = (np.bincount(part, minlength=5) for part in (labels[chosen], labels))
    unexhausted = counts[counts < available]
    assert counts.max() <= unexhausted.min(initial=len(labels)) + 1


@given(LABELS, st.integers(0, 5))
def test_a_larger_subset_holds_the_smaller(labels: np.ndarray, seed: int) -> None:
    smaller = balanced_subset(labels, len(labels) // 2, seed)
    assert set(smaller) <= set(balanced_subset(labels, len(labels) - 1, seed))


def test_ten_of_a_hundred_are_one_of_each_class() -> None:
    labels = np.repeat(np.arange(10), 10)
    chosen = balanced_subset(labels, 10, seed=0)
    assert sorted(labels[chosen]) == list(range(10))
    assert chosen.tolist() == balanced_subset(labels, 10, seed=0).tolist()
    assert chosen.tolist() != balanced_subset(labels, 10, seed=1).tolist()


@pytest.mark.parametrize("examples", [0, -1, 101])
def test_a_subset_of_impossible_size_is_refused(examples: int) -> None:
    with pytest.raises(KerasNasError, match=f"from 1 to the 100 .* train_examples={examples}"):
        balanced_subset(np.zeros(100, int), examples, seed=0)


@given(LABELS, st.floats(0.05, 0.95), st.integers(0, 5))
def test_a_split_parts_every_example_once(labels: np.ndarray, share: float, seed: int) -> None:
    second_size = round(len(labels) * share)
    if second_size in (0, len(labels)):
        with pytest.raises(KerasNasError, match="leave no part empty"):
            split_indices(labels, share, seed)
        return
    first, second = split_indices(labels, share, seed)
    assert len(second) == second_size
    assert sorted([*first, *second]) == list(range(len(labels)))


def test_a_split_keeps_the_shares_of_uneven_classes() -> None:
    labels = np.repeat([0, 1, 2], [400, 80, 20])
    first, second = split_indices(labels, 0.25, seed=7)
    assert np.bincount(labels[second]).tolist() == [100, 20, 5]
    assert np.bincount(labels[first]).tolist() == [300, 60, 15]


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.5])
def test_a_share_outside_the_open_interval_is_refused(share: float) -> None:
    with pytest.raises(KerasNasError, match="between 0 and 1"):
        split_indices(np.zeros(10, int), share, seed=0)


def test_weights_and_structure_see_different_images() -> None:
    images = np.arange(100)[:, np.newaxis]
    labels = np.arange(100) % 10
    (weights, weight_labels), (structure, structure_labels) = split(images, labels, "4:1", seed=1)
    assert (len(weights), len(structure)) == (80, 20)
    assert not set(weights[:, 0]) & set(structure[:, 0])
    assert np.bincount(structure_labels).tolist() == [2] * 10
    np.testing.assert_array_equal(weights[:, 0] % 10, weight_labels)
    again = split(images, labels, (4, 1), seed=1)
    np.testing.assert_array_equal(again[0][0], weights)
    other = split(images, labels, "4:1", seed=2)
    assert set(other[1][0][:, 0]) != set(structure[:, 0])


def test_a_ratio_is_the_second_parts_share() -> None:
    assert ratio_share("1:1") == 0.5
    assert ratio_share("4:1") == 0.2
    assert ratio_share((3, 1)) == 0.25


@pytest.mark.parametrize("ratio", ["", "1", "1:2:3", "1:0", "-1:1", "a:b", "nan:1", "inf:1"])
def test_another_ratio_is_refused(ratio: str) -> None:
    with pytest.raises(KerasNasError, match="`split_ratio` must be two positive numbers"):
        ratio_share(ratio)
