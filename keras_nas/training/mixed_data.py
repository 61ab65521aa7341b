"""The batches of two data sets as one."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from keras_nas.training.stage import Data, epoch_of, steps_of


class MixedData:
    """The batches of two data sets, evenly mixed.

    Worked example: of 4 and 2 batches, the order is 1, 2, 1, 1, 2, 1.
    """

    def __init__(self, first: Data, second: Data):
        self.first, self.second = first, second

    def epoch(self, epoch: int, start: int = 0) -> tf.data.Dataset:
        parts = [epoch_of(self.first, epoch), epoch_of(self.second, epoch)]
        places = [(np.arange(n) + 0.5) / n for n in map(steps_of, parts)]
        owners = np.repeat([0, 1], [len(place) for place in places])
        order = owners[np.argsort(np.concatenate(places), kind="stable")].astype(np.int64)
        choices = tf.data.Dataset.from_tensor_slices(order)
        return tf.data.Dataset.choose_from_datasets(parts, choices).skip(start)
