"""Batches for steps that alternate between two data sets."""

from __future__ import annotations

import keras
import tensorflow as tf

from keras_nas.training.stage import Data, epoch_of


class AlternatingData:
    """D_w and D_λ side by side: an element has `weight_steps` batches of one, `edge_steps` of the
    other.

    Its tensors are `(batch, steps, ...)`, the batch first, so that tf.distribute can share it out.
    Batches that are smaller than a data set's first one are left out.

    Args:
        weights: D_w.
        edges: D_λ.
        weight_steps, edge_steps: x and y of a ratio x : y.

    Example:

    ```python
    for weight_batches, edge_batches in AlternatingData(d_w, d_lambda, 4, 1).epoch(0):
        images, labels = weight_batches     # (128, 4, 32, 32, 3), (128, 4)
    ```
    """

    def __init__(self, weights: Data, edges: Data, weight_steps: int, edge_steps: int):
        self.weights, self.edges = weights, edges
        self.weight_steps, self.edge_steps = weight_steps, edge_steps

    def epoch(self, epoch: int, start: int = 0) -> tf.data.Dataset:
        """One pass, over the shorter of the two, from step `start` on."""
        dataset = tf.data.Dataset.zip(
            _grouped(epoch_of(self.weights, epoch), self.weight_steps),
            _grouped(epoch_of(self.edges, epoch), self.edge_steps),
        )
        return dataset.skip(start).prefetch(2)


def _grouped(batches: tf.data.Dataset, steps: int) -> tf.data.Dataset:
    if not _all_whole(batches):
        batches = _whole_batches(batches)
    return batches.batch(steps, drop_remainder=True).map(
        lambda *stacked: keras.tree.map_structure(_swap_first_axes, stacked)
    )


def _all_whole(batches: tf.data.Dataset) -> bool:
    sizes = {spec.shape[0] for spec in keras.tree.flatten(batches.element_spec)}
    return len(sizes) == 1 and None not in sizes


def _whole_batches(batches: tf.data.Dataset) -> tf.data.Dataset:
    """The batches that are as large as the first."""
    size = int(tf.shape(keras.tree.flatten(next(iter(batches.take(1))))[0])[0])

    def is_whole(*batch):
        return tf.equal(tf.shape(keras.tree.flatten(batch)[0])[0], size)

    def with_size(*batch):
        return keras.tree.map_structure(
            lambda tensor: tf.ensure_shape(tensor, [size, *tensor.shape[1:]]), batch
        )

    return batches.filter(is_whole).map(with_size)


def _swap_first_axes(tensor: tf.Tensor) -> tf.Tensor:
    rest = range(2, len(tensor.shape))
    return tf.transpose(tensor, [1, 0, *rest])
