"""Training data whose every epoch is a function of the seed and the epoch's number."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from keras_nas.errors import UsageError


class EpochDataset(tf.data.Dataset):
    """Batches of training data that can be had again, from any step of any epoch.

    `epoch(e)` is a `tf.data.Dataset` of one pass over the data in the order, and with the
    augmentation, that belongs to (seed, e): the same in every process, however many epochs went
    before. A training that stopped in epoch e after n steps goes on with `epoch(e, start=n)` and
    sees what it would have seen.

    The object itself is a `tf.data.Dataset` too, for `model.fit` and every other user of tf.data.
    Each pass over it is shuffled and augmented anew; the sequence of passes depends on the seed
    (and, like all of tf.data's shuffling, on `tf.random.set_seed`), but starts over in each new
    process.

    Example:

    ```python
    for epoch in range(first_epoch, epochs):
        start = first_step if epoch == first_epoch else 0
        for images, labels in train.epoch(epoch, start=start):
            ...
    model.fit(train, epochs=3, shuffle=False)  # it shuffles itself
    ```

    Args:
        passes: The dataset that plain iteration reads; its cardinality is the steps of an epoch.
        build_epoch: `build_epoch(epoch, start)` gives an epoch's batches from step `start` on, with
            the elements of `passes`.
    """

    def __init__(
        self, passes: tf.data.Dataset, build_epoch: Callable[[int, int], tf.data.Dataset]
    ) -> None:
        self._passes = passes
        self._build_epoch = build_epoch
        super().__init__(passes._variant_tensor)  # tf.data's own way to build on a dataset

    @property
    def steps_per_epoch(self) -> int:
        """The batches in one epoch."""
        return int(self._passes.cardinality())

    def epoch(self, epoch: int, start: int = 0) -> tf.data.Dataset:
        """The batches of epoch number `epoch`.

        Args:
            epoch: 0, 1, 2, …
            start: How many steps to leave out at the front, without computing them; the same
                batches as `epoch(epoch).skip(start)`.

        Raises:
            KerasNasError: `epoch` is negative, or `start` is outside 0 … `steps_per_epoch`.
        """
        if epoch < 0:
            raise UsageError(f"`epoch` must be 0 or more. Received: epoch={epoch}")
        if not 0 <= start <= self.steps_per_epoch:
            raise UsageError(
                f"`start` must be from 0 to the {self.steps_per_epoch} steps of an epoch. "
                f"Received: start={start}"
            )
        return self._build_epoch(epoch, start)

    def _inputs(self) -> list[tf.data.Dataset]:
        return [self._passes]

    @property
    def element_spec(self):
        return self._passes.element_spec
