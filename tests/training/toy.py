"""A stage of two numbers, for the loop's tests: minimises (w x − y)² with Keras' SGD."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from keras_nas.training.stage import Stage
from keras_nas.training.step import Learned, descend, global_mean


class ToyStage(Stage):
    """One weight; remembers the calls of its hooks."""

    def __init__(self, data, epochs=2, name="toy", momentum=0.9, stop_after=None):
        super().__init__(name, epochs, data)
        self.weight = keras.Variable(0.0, name="w")
        self.momentum = momentum
        self.stop_after = stop_after
        self.calls: list[tuple] = []
        self.traces = 0
        self.on_step = None

    def begin(self, steps):
        self.optimizer = keras.optimizers.SGD(0.1, self.momentum)
        self.optimizer.build([self.weight])
        self.calls.append(("begin", steps))

    def before_epoch(self, epoch):
        self.calls.append(("epoch", epoch))

    def before_step(self, epoch, step, steps):
        self.calls.append(("step", epoch, step))
        if self.on_step is not None:
            self.on_step(epoch, step)

    def train_step(self, batch):
        self.traces += 1
        return descend(
            batch,
            lambda x: self.weight.value * x,
            lambda y, outputs: {"loss": global_mean((outputs - y) ** 2)},
            [Learned([self.weight], self.optimizer)],
        )

    def state(self):
        return {"weight": [self.weight], "optimizer": self.optimizer.variables}

    def after_epoch(self, epoch):
        return {"w": float(self.weight.numpy())}

    def finished(self, records):
        return self.stop_after is not None and len(records) >= self.stop_after


class ToyData:
    """Epoch e's batches depend on e alone, as those of `keras_nas.data`."""

    def __init__(self, examples=7, batch=2):
        self.examples, self.batch = examples, batch

    def epoch(self, epoch, start=0):
        random = np.random.default_rng(epoch)
        x = random.uniform(0.5, 1.5, self.examples).astype("float32")
        return tf.data.Dataset.from_tensor_slices((x, 3 * x)).batch(self.batch).skip(start)
