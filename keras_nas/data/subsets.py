"""Seeded choices of examples: class-balanced subsets, and splits that keep the class shares."""

from __future__ import annotations

import math

import numpy as np

from keras_nas.errors import KerasNasError, UsageError

TEST_SHARE = 0.2
"""The share of one's own pictures that is tested on where they have no part for that."""


def balanced_subset(labels: np.ndarray, examples: int, seed: int) -> np.ndarray:
    """Chooses `examples` examples, as evenly over the classes as they allow.

    Class counts differ by one at most, save where a class runs out of examples. A larger subset of
    the same seed holds the smaller ones.

    Args:
        labels: The classes, int (N,).
        examples: How many to choose, 1 … N.
        seed: Of the choice.

    Returns:
        The chosen positions in rising order, int64 (examples,).

    Raises:
        KerasNasError: `examples` is under 1 or over N.
    """
    labels = np.asarray(labels)
    if not 1 <= examples <= len(labels):
        raise UsageError(
            f"`train_examples` must be from 1 to the {len(labels)} that there are. "
            f"Received: train_examples={examples}"
        )
    ranks, _, ties = _ranks_in_class(labels, seed)
    return np.sort(np.lexsort((ties, ranks))[:examples])


def split_indices(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits examples in two, each with the classes in the same shares as the whole.

    Args:
        labels: The classes, int (N,).
        share: The second part's share of the whole, 0 < share < 1; N · share is rounded.
        seed: Of the choice.

    Returns:
        The positions of the first and of the second part, each in rising order, int64. They are
        disjoint and together hold every position.

    Raises:
        KerasNasError: `share` is outside (0, 1), or a part would be empty.
    """
    labels = np.asarray(labels)
    second = round(len(labels) * share)
    if not 0.0 < share < 1.0 or not 0 < second < len(labels):
        raise KerasNasError(
            "A split's share must be between 0 and 1 and leave no part empty. "
            f"Received: share={share} of {len(labels)} examples"
        )
    ranks, counts, ties = _ranks_in_class(labels, seed)
    order = np.lexsort((ties, (ranks + 0.5) / counts))
    return np.sort(order[second:]), np.sort(order[:second])


def split(
    images: np.ndarray, labels: np.ndarray, ratio: str | tuple[int, int], seed: int
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Splits a training set into D_w, which trains weights, and D_λ, which trains structure.

    DSO-NAS, section 4: 1:1 on CIFAR-10 and 4:1 on ImageNet.

    Args:
        images: (N, …).
        labels: The classes, int (N,).
        ratio: D_w : D_λ, as "4:1" or (4, 1).
        seed: Of the choice.

    Returns:
        D_w's images and labels, and D_λ's.

    Raises:
        KerasNasError: `ratio` is not two positive numbers, or a part would be empty.
    """
    chosen = split_indices(labels, ratio_share(ratio), seed)
    weights, structure = ((images[part], labels[part]) for part in chosen)
    return weights, structure


def ratio_share(ratio: str | tuple[float, float]) -> float:
    """The second part's share of the whole in a ratio such as "4:1" (0.2) or (1, 1) (0.5).

    Raises:
        KerasNasError: `ratio` is not two positive numbers.
    """
    try:
        first, second = map(float, ratio.split(":") if isinstance(ratio, str) else ratio)
    except ValueError:
        first = second = math.nan
    if not (0.0 < first < math.inf and 0.0 < second < math.inf):
        raise UsageError(
            f"`split_ratio` must be two positive numbers such as 4:1. Received: {ratio!r}"
        )
    return second / (first + second)


def _ranks_in_class(labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each example's random rank in its class, its class' size, and a random tie-breaker."""
    generator = np.random.default_rng(seed)
    ranks = np.empty(len(labels), np.int64)
    counts = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        ranks[members] = generator.permutation(len(members))
        counts[members] = len(members)
    return ranks, counts, generator.permutation(len(labels))
