"""Loss and metrics of a model over a data set, on every replica."""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_nas.tasks import Task
from keras_nas.training.alike_segments import Segments
from keras_nas.training.stage import Data, epoch_of


class Evaluator:
    """Evaluates a model in inference mode; traces once, whatever the gates' modes.

    Example:

    ```python
    Evaluator(model, task, validation_data)()   # {"loss": 0.31, "top1": 0.902, "top5": 0.997}
    ```

    Args:
        model: The model, or what gives its outputs, such as its `Segments`.
        task: Its loss and metrics.
        data: The batches `(inputs, targets)`.
    """

    def __init__(self, model: keras.Model | Segments, task: Task, data: Data):
        self._model = model
        self._task = task
        self._source = data
        self._strategy = tf.distribute.get_strategy()
        self._data = self._strategy.experimental_distribute_dataset(epoch_of(data, 0))
        with self._strategy.scope():
            self._loss = keras.metrics.Mean(name="loss")
            self._metrics = [self._loss, *task.metrics()]

    @functools.cached_property
    def _step(self) -> Any:
        """Concrete, since TensorFlow warns of functions that many evaluators trace once each."""
        signature = [self._data.element_spec]
        return tf.function(self._run, input_signature=signature).get_concrete_function()

    def __call__(self) -> dict[str, float]:
        """The loss and the metrics, by name."""
        for metric in self._metrics:
            metric.reset_state()
        for batch in self._data:
            self._step(batch)
        return {metric.name: float(metric.result()) for metric in self._metrics}

    def images(self) -> np.ndarray | None:
        """The first batch as the task's images, uint8 `(images, height, width, 3)`, or None."""
        inputs, targets = next(iter(epoch_of(self._source, 0)))[:2]
        return self._task.images(inputs, targets, lambda x: self._model(x, training=False))

    def _run(self, batch):
        self._strategy.run(self._update, args=(batch,))

    def _update(self, batch):
        inputs, targets = batch[0], batch[1]
        outputs = self._model(inputs, training=False)
        self._loss.update_state(self._task.loss(targets, outputs))
        for metric in self._metrics[1:]:
            metric.update_state(targets, outputs)
