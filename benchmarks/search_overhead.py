"""What a step of a search costs beside a plain training step, in one process, taking turns.

    python -m benchmarks.search_overhead --models=vgg16_cifar,mobilenet_v2_cifar --batch_size=64

For DNAL: stage 2 (gates learned, weights frozen, no weight gradients) over a plain training step of
the ungated network. Two thirds is the limit, the forward pass and the data gradients; the mark is
0.72. Medians of interleaved steps, so that another process' load hits both.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from apps.main import run as run_app
from keras_nas import models
from keras_nas.search.dnal import Dnal, DnalConfig, GateStage
from keras_nas.tasks import Classification

_MODELS = flags.DEFINE_list("models", ["vgg16_cifar", "mobilenet_v2_cifar"], "Backbones.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Images a step.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 12, "Timed steps of each kind.", lower_bound=1)
_IMAGE_SIZE = flags.DEFINE_integer("image_size", 32, "Side of the images.", lower_bound=8)

Step = Callable[[], object]


def plain_step(model: keras.Model, images: tf.Tensor, labels: tf.Tensor) -> Step:
    """A bare training step: cross-entropy, all weights, SGD with momentum, nothing else."""
    optimizer = keras.optimizers.SGD(0.01, 0.9)
    optimizer.build(model.trainable_variables)
    task = Classification.of(model)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(task.loss(labels, model(images, training=True)))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    return step


def gate_step(model: keras.Model, images: tf.Tensor, labels: tf.Tensor) -> Step:
    """DNAL's stage-2 step of the gated network, as the search runs it."""
    supernet = Dnal().make_supernet(model)
    data = tf.data.Dataset.from_tensors((images, labels))
    stage = GateStage(supernet, data, None, Classification.of(model), DnalConfig())
    stage.begin(1)
    batch = (images, labels)
    return tf.function(lambda: stage.train_step(batch).losses)


def race(steps: dict[str, Step], rounds: int) -> dict[str, float]:
    """The median seconds of each step, after one untimed round, each in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 1):
        for name, step in steps.items():
            began = time.perf_counter()
            tf.nest.map_structure(lambda tensor: tensor.numpy(), step())
            if number:
                seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in seconds.items()}


def measure(name: str, batch_size: int, image_size: int, rounds: int) -> dict[str, float]:
    """Seconds of a plain and of a stage-2 step of a backbone."""
    model = models.create(name, input_shape=[image_size, image_size, 3], num_classes=10)
    random = np.random.default_rng(0)
    images = tf.constant(random.normal(size=(batch_size, image_size, image_size, 3)), tf.float32)
    labels = tf.constant(random.integers(0, 10, batch_size))
    steps = {
        "plain": plain_step(model, images, labels),
        "dnal_gates": gate_step(model, images, labels),
    }
    return race(steps, rounds)


def main() -> None:
    for name in _MODELS.value:
        medians = measure(name, _BATCH_SIZE.value, _IMAGE_SIZE.value, _ROUNDS.value)
        plain = medians.pop("plain")
        print(f"{name}  batch {_BATCH_SIZE.value}  plain training step {1e3 * plain:.1f} ms")
        for kind, seconds in medians.items():
            print(f"  {kind}  {1e3 * seconds:.1f} ms  {seconds / plain:.3f} of the plain step")


if __name__ == "__main__":
    run_app(main)
