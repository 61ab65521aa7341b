from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_nas.errors import UsageError
from keras_nas.search.dso.alternating_data import AlternatingData
from keras_nas.search.dso.config import parse_ratio
from keras_nas.search.method import Context
from keras_nas.tasks import Classification
from keras_nas.training.stage import steps_of


def numbered(start, examples, batch, drop_remainder=False):
    x = np.arange(start, start + examples)
    data = tf.data.Dataset.from_tensor_slices((x[:, None] * np.ones(3), x))
    return data.batch(batch, drop_remainder=drop_remainder)


@pytest.mark.parametrize("drop_remainder", [True, False])
def test_batches_of_both_sets_side_by_side(drop_remainder):
    weights = numbered(0, 17, 2, drop_remainder)
    edges = numbered(100, 7, 2, drop_remainder)
    elements = list(AlternatingData(weights, edges, 3, 1).epoch(0).as_numpy_iterator())
    # 8 whole batches of D_w make two groups of three; D_λ has three.
    assert len(elements) == 2
    (x, y), (edge_x, edge_y) = elements[1]
    assert x.shape == (2, 3, 3)
    assert edge_x.shape == (2, 1, 3)
    np.testing.assert_array_equal(y.T, [[6, 7], [8, 9], [10, 11]])
    np.testing.assert_array_equal(x[..., 0], y)
    np.testing.assert_array_equal(edge_y.T, [[102, 103]])


def test_steps_are_known_and_an_epoch_can_be_entered_in_its_middle():
    data = AlternatingData(numbered(0, 20, 2), numbered(100, 20, 2), 2, 1)
    assert steps_of(data.epoch(0)) == 5
    rest = list(data.epoch(0, 3).as_numpy_iterator())
    assert [edge_y[0, 0] for _, (_, edge_y) in rest] == [106, 108]


def test_all_data_are_the_first_set_where_there_is_no_second():
    alone = numbered(0, 8, 2)
    assert Context(Classification(2), alone).all_data() is alone


@pytest.mark.parametrize(("ratio", "steps"), [("1:1", (1, 1)), ("4:1", (4, 1)), ("6:4", (3, 2))])
def test_ratio(ratio, steps):
    assert parse_ratio(ratio) == steps


@pytest.mark.parametrize("ratio", ["", "4", "4:0", "0:1", "1:1:1", "0.5:1", "-1:1"])
def test_wrong_ratio(ratio):
    with pytest.raises(UsageError, match="two whole numbers such as 4:1"):
        parse_ratio(ratio)
