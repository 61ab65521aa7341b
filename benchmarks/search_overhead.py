"""What a step of a search costs beside a plain training step, in one process, taking turns.

    python -m benchmarks.search_overhead --models=vgg16_cifar,mobilenet_v2_cifar --batch_size=64

For DNAL: stage 2 (gates learned, weights frozen, no weight gradients) over a plain training step of
the ungated network. Two thirds is the limit, the forward pass and the data gradients; the mark is
0.72. For FGNAS (P): weights and gates together, with the resource regulariser and the test for the
target, over the same plain step; the mark is 1.10. For DSO: a pair of alternating steps (edges by
APG-NAG, then weights) over two plain steps of the same full block without edges. Medians of
interleaved steps, so that another process' load hits both. Beside them stands what it took to
trace the step: CPU seconds, and nodes of its graph and of the functions that this calls.

    python -m benchmarks.search_overhead --tracing=dso_share,fgnas_efficientnet_b0

traces only, also what is too large to time here: DSO's supernet for CIFAR-10 at the paper's size.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from apps.main import run as run_app
from keras_nas import models
from keras_nas.errors import UsageError
from keras_nas.search.dnal import Dnal, DnalConfig
from keras_nas.search.dnal_stages import GateStage
from keras_nas.search.dso.config import DsoConfig
from keras_nas.search.dso.edge_gammas import fixed_gammas
from keras_nas.search.dso.edge_graph import EdgeGraph
from keras_nas.search.dso.edge_stage import EdgeStage
from keras_nas.search.fgnas.config import FgnasConfig
from keras_nas.search.fgnas.method import Fgnas
from keras_nas.search.fgnas.stage import FgnasStage
from keras_nas.tasks import Classification
from keras_nas.training.trainer import TrainConfig


@dataclasses.dataclass(frozen=True)
class Step:
    """A step to time: the traced function, and what the loop asks after it."""

    function: Any
    after: Callable[[], object] = tuple

    def __call__(self):
        losses = self.function()
        self.after()
        return losses


@dataclasses.dataclass(frozen=True)
class Tracing:
    """What a trace took: CPU seconds, nodes of the graph and of the functions that it calls."""

    seconds: float
    nodes: int
    nodes_in_functions: int

    def __str__(self):
        return (
            f"traced in {self.seconds:.1f} CPU s, {self.nodes} nodes "
            f"+ {self.nodes_in_functions} in functions"
        )


def trace(step: Step) -> Tracing:
    """Traces a step that has not run yet."""
    began = time.process_time()
    concrete = step.function.get_concrete_function()
    seconds = time.process_time() - began
    graph = concrete.graph.as_graph_def()
    functions = graph.library.function
    return Tracing(seconds, len(graph.node), sum(len(each.node_def) for each in functions))


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

    return Step(step)


def gate_step(model: keras.Model, images: tf.Tensor, labels: tf.Tensor) -> Step:
    """DNAL's stage-2 step of the gated network, as the search runs it."""
    supernet = Dnal().make_supernet(model)
    data = tf.data.Dataset.from_tensors((images, labels))
    stage = GateStage(supernet, data, None, Classification.of(model), DnalConfig())
    stage.begin(1)
    batch = (images, labels)
    return Step(tf.function(lambda: stage.train_step(batch).losses, autograph=False))


def fgnas_step(model: keras.Model, images: tf.Tensor, labels: tf.Tensor) -> Step:
    """FGNAS' step of the search, channels only, flops: weights, gates and the regulariser."""
    config = FgnasConfig(
        target_flops="0.5x", search=TrainConfig(epochs=1, learning_rate=0.01, weight_decay=0.0)
    )
    supernet = Fgnas(config).make_supernet(model)
    data = tf.data.Dataset.from_tensors((images, labels))
    stage = FgnasStage(supernet, data, None, Classification.of(model), config)
    stage.begin(1)
    step = tf.function(lambda: stage.train_step((images, labels)).losses, autograph=False)
    return Step(step, stage.satisfied)


def dso_pair(space: models.DsoSpace, images: tf.Tensor, labels: tf.Tensor) -> Step:
    """DSO's two alternating steps, each on a batch of its own, as the search runs them."""
    supernet = space.supernet()
    graph = EdgeGraph(supernet)
    data = tf.data.Dataset.from_tensors((images, labels))
    stage = EdgeStage(
        supernet, data, data, None, Classification(space.num_classes), DsoConfig(), graph,
        fixed_gammas(graph, 1e-3),
    )  # fmt: skip
    stage.begin(1)
    batch = (images[:, tf.newaxis], labels[:, tf.newaxis])
    step = tf.function(lambda: stage.train_step((batch, batch)).losses, autograph=False)
    return Step(step)


def dso_steps(levels: int, images: tf.Tensor, labels: tf.Tensor) -> dict[str, Step]:
    """A plain step of one full DSO block, and the search's pair of steps on it."""
    space = models.DsoSpace(
        tuple(images.shape[1:]), stage_widths=(48,), stage_blocks=(1,), levels=levels
    )
    return {
        "plain": plain_step(space.network(), images, labels),
        "dso_pair": dso_pair(space, images, labels),
    }


def batch_of(batch_size: int, image_size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Random images and labels."""
    random = np.random.default_rng(0)
    images = random.normal(size=(batch_size, image_size, image_size, 3))
    return tf.constant(images, tf.float32), tf.constant(random.integers(0, 10, batch_size))


def backbone(name: str, images: tf.Tensor) -> keras.Model:
    """A network of the library for ten classes of these images."""
    return models.create(name, input_shape=list(images.shape[1:]), num_classes=10)


def backbone_steps(name: str, images: tf.Tensor, labels: tf.Tensor) -> dict[str, Step]:
    """A plain step and each search's step of a backbone."""
    model = backbone(name, images)
    return {
        "plain": plain_step(model, images, labels),
        "dnal_gates": gate_step(model, images, labels),
        "fgnas_p": fgnas_step(model, images, labels),
    }


def traced_step(case: str, images: tf.Tensor, labels: tf.Tensor) -> Step:
    """The step of one of `--tracing`'s cases.

    Raises:
        UsageError: If it is none.
    """
    method, _, name = case.partition("_")
    if method == "dso" and name in ("share", "full"):
        return dso_pair(models.DsoSpace(tuple(images.shape[1:]), scope=name), images, labels)
    make = {"dnal": gate_step, "fgnas": fgnas_step}.get(method)
    if make is None or not name:
        raise UsageError(
            "--tracing takes dso_share, dso_full, dnal_BACKBONE and fgnas_BACKBONE. "
            f"Received: {case}"
        )
    return make(backbone(name, images), images, labels)


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


def report(title: str, steps: dict[str, Step], count: int, words: str) -> None:
    """Prints what tracing and running each step took; the latter over `count` plain steps."""
    traced = {name: trace(step) for name, step in steps.items()}
    medians = race(steps, flags.FLAGS.rounds)
    plain = medians.pop("plain")
    print(f"{title}  batch {flags.FLAGS.batch_size}  plain training step {1e3 * plain:.1f} ms")
    print(f"  plain  {traced['plain']}")
    for kind, seconds in medians.items():
        print(f"  {kind}  {1e3 * seconds:.1f} ms  {seconds / (count * plain):.3f} of {words}")
        print(f"  {kind}  {traced[kind]}")


def define_flags() -> None:
    flags.DEFINE_list("models", ["vgg16_cifar", "mobilenet_v2_cifar"], "Backbones.")
    flags.DEFINE_integer("batch_size", 64, "Images a step.", lower_bound=1)
    flags.DEFINE_integer("rounds", 12, "Timed steps of each kind.", lower_bound=1)
    flags.DEFINE_integer("dso_levels", 4, "Levels of DSO's block; 0 to leave it out.")
    flags.DEFINE_list(
        "tracing",
        [],
        "Trace only, one after the other: dso_share, dso_full, dnal_BACKBONE, fgnas_BACKBONE.",
    )
    flags.DEFINE_integer("image_size", 32, "Side of the images.", lower_bound=8)


def main() -> None:
    images, labels = batch_of(flags.FLAGS.batch_size, flags.FLAGS.image_size)
    for case in flags.FLAGS.tracing:
        print(f"{case}  batch {flags.FLAGS.batch_size}  {trace(traced_step(case, images, labels))}")
    if flags.FLAGS.tracing:
        return
    for name in flags.FLAGS.models:
        report(name, backbone_steps(name, images, labels), 1, "the plain step")
    if flags.FLAGS.dso_levels:
        steps = dso_steps(flags.FLAGS.dso_levels, images, labels)
        report("dso block", steps, 2, "two plain steps")


if __name__ == "__main__":
    define_flags()
    run_app(main)
