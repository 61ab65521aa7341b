"""Labels as classes, or one-hot."""

from __future__ import annotations

import numpy as np


def are_one_hot(labels: np.ndarray) -> bool:
    """Whether labels are (N, classes), each row with a single one and zeros."""
    if labels.ndim != 2 or labels.shape[-1] < 2:
        return False
    ones = labels == 1
    return bool(np.all(ones | (labels == 0)) and np.all(ones.sum(axis=-1) == 1))


def as_sparse(labels: np.ndarray) -> np.ndarray:
    """Classes, int64 (N,), of one-hot labels; anything else as it is.

    Worked example: of [[0, 1, 0], [1, 0, 0]] the classes are [1, 0]; [[1, 1], [0, 1]] stays.
    """
    return labels.argmax(axis=-1) if are_one_hot(labels) else labels
