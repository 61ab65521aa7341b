"""Small networks, spaces, data and settings for the searches' tests; a stage of one number."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_nas.data import DataSet
from keras_nas.layers import ScaledEdge
from keras_nas.models import DsoSpace
from keras_nas.tasks import Classification
from keras_nas.training.session import Session
from keras_nas.training.stage import Stage
from keras_nas.training.step import Learned, descend, global_mean
from keras_nas.training.train_config import TrainConfig
from keras_nas.training.trainer import train


def small_net(classes=4, dtype=None):
    """Two convolutions, a residual one, and a classifier: 3 × 8 channels that can be gated."""
    inputs = keras.Input((8, 8, 2), name="image")
    x = inputs
    for name in ("a", "b"):
        x = layers.Conv2D(8, 3, padding="same", use_bias=False, name=f"{name}_conv", dtype=dtype)(x)
        x = layers.BatchNormalization(momentum=0.8, name=f"{name}_bn", dtype=dtype)(x)
        x = layers.ReLU(name=f"{name}_relu", dtype=dtype)(x)
    y = layers.Conv2D(8, 1, use_bias=False, name="c_conv", dtype=dtype)(x)
    y = layers.BatchNormalization(momentum=0.8, name="c_bn", dtype=dtype)(y)
    x = layers.Add(name="add")([x, y])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    outputs = layers.Dense(classes, name="classifier", dtype="float32")(x)
    return keras.Model(inputs, outputs, name="small_net")


def random_images(examples=64, batch=16, classes=4, seed=0):
    """Images whose class is the quadrant of a bright spot: learnt within an epoch or two."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, examples)
    images = random.normal(0, 0.3, (examples, 8, 8, 2)).astype("float32")
    for image, label in zip(images, labels, strict=True):
        image[:, :, 0] += 1.5 * (label % 2)
        image[:, :, 1] += 1.5 * (label // 2)
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(batch)


def trained_net():
    """The small network, which has learned the quadrants."""
    keras.utils.set_random_seed(0)
    net = small_net()
    train(
        net, random_images(256), None, TrainConfig(epochs=4, learning_rate=0.05),
        task=Classification.of(net), session=Session(progress="off"),
    )  # fmt: skip
    return net


def arrays(model):
    """The values of all variables by path."""
    return {v.path: np.copy(keras.ops.convert_to_numpy(v)) for v in model.variables}


class MadeData(DataSet):
    """What `keras_nas.data.load` gives: four classes, 8×8 pixels of two channels."""

    task = "classification"
    num_classes = 4
    image_shape = (8, 8, 2)
    structure = None

    def __init__(self):
        self.train = random_images()
        self.validation = random_images(16, seed=1)
        self.test = random_images(48, seed=2)

    def describe(self):
        return "quadrants: 64 of 64 training images"

    def builder_arguments(self):
        return {"input_shape": list(self.image_shape), "num_classes": self.num_classes}


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


PAPER = {
    "start": "even", "min_share": 0.0, "lambda_unit": "one", "steer": "none",
    "gate_optimizer": "sgd",
}  # fmt: skip


PROXYLESS = {
    "input_shape": (16, 16, 3),
    "num_classes": 4,
    "stem_width": 4,
    "first_width": 4,
    "stage_widths": (4, 6),
    "stage_blocks": (2, 1),
    "stage_strides": (1, 2),
    "head_width": 16,
}


DSO = DsoSpace(
    input_shape=(8, 8, 3),
    num_classes=4,
    stage_widths=(4, 6),
    stage_blocks=(1, 1),
    levels=2,
    operations=("sep3", "max3"),
)


def open_operations(supernet: keras.Model) -> dict[str, list[str]]:
    """The operations whose edge is open, by block, of a proxyless model built with `edges`."""
    found: dict[str, list[str]] = {}
    for layer in supernet.layers:
        if isinstance(layer, ScaledEdge):
            opened = [layer.place.source] if layer.mask()[0] else []
            found.setdefault(layer.place.block, []).extend(opened)
    return found


class KilledError(Exception):
    """What `killed_and_resumed` kills a run with."""


def killed_and_resumed(monkeypatch, run, kind, where):
    """What `run(name of its folder, resume)` gives unbroken, and killed at a step and resumed.

    Args:
        monkeypatch: pytest's.
        run: The run, from its beginning or its checkpoint.
        kind: The stage's class.
        where: The stage's name, the epoch, and the step before which it is killed.
    """
    expected = run("unbroken", False)
    calm = kind.before_step

    def deadly(self, epoch, step, steps):
        if (self.name, epoch, step) == where:
            raise KilledError
        calm(self, epoch, step, steps)

    with monkeypatch.context() as patched:
        patched.setattr(kind, "before_step", deadly)
        with pytest.raises(KilledError):
            run("killed", False)
    return expected, run("killed", True)
