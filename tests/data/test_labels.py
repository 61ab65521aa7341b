"""Labels as classes, or one-hot."""

from __future__ import annotations

import numpy as np
import pytest

from keras_nas.data.labels import are_one_hot, as_sparse


@pytest.mark.parametrize("dtype", ["float32", "uint8", "bool"])
def test_one_hot_labels_become_classes(dtype):
    labels = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]], dtype)
    assert are_one_hot(labels)
    assert as_sparse(labels).tolist() == [1, 0, 2]


@pytest.mark.parametrize(
    "labels",
    [
        [0, 1],
        [[0], [1]],
        [[1, 1], [0, 1]],
        [[0, 0], [0, 1]],
        [[0.5, 0.5], [0, 1]],
        [[2, 0], [0, 1]],
    ],
)
def test_others_stay(labels):
    assert not are_one_hot(np.array(labels))
    np.testing.assert_array_equal(as_sparse(np.array(labels)), labels)
