from __future__ import annotations

import tensorflow as tf

from keras_nas.training.stage import MixedData, steps_of


def test_two_data_sets_are_mixed_evenly_and_nothing_is_lost():
    first, second = (tf.data.Dataset.range(*ends).batch(2) for ends in ((0, 8), (100, 104)))
    mixed = MixedData(first, second)
    assert steps_of(mixed.epoch(0)) == 6
    batches = [batch.tolist() for batch in mixed.epoch(0).as_numpy_iterator()]
    assert batches == [[0, 1], [100, 101], [2, 3], [4, 5], [102, 103], [6, 7]]
    assert [batch.tolist() for batch in mixed.epoch(0, 4).as_numpy_iterator()] == batches[4:]
