"""The memory that a training step takes, with `rematerialize` and without.

    python -m benchmarks.rematerialization_memory --stage_blocks=4,4 --levels=3 --batch_size=32
    python -m benchmarks.rematerialization_memory --models=vgg16_cifar,resnet50 --image_size=64

Of DSO's full network, or of backbones in plain training. Each is measured in a process of its own:
the most resident memory after three steps, less that of the process with the network built. Prints
both, their ratio, and the seconds of a step.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import time

import numpy as np
from absl import flags

from apps.main import run as run_app

STEPS = 3


def peak_bytes() -> int:
    """The most resident memory of this process so far (Linux counts in KiB)."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure(model: str, settings: dict, rematerialize: bool, batch_size: int, results) -> None:
    """Puts the bytes and seconds of the training step into the queue `results`, as JSON.

    Args:
        model: A backbone's name, or "" for DSO's network.
        settings: Of the backbone, or of DSO's space.
        rematerialize: Whether activations are computed again.
        batch_size: Images a step.
        results: The queue.
    """
    import tensorflow as tf

    from keras_nas import models
    from keras_nas.search.dso.config import DsoConfig
    from keras_nas.search.dso.edge_stage import FullNetworkStage
    from keras_nas.tasks import Classification
    from keras_nas.training.trainer import TrainConfig, TrainStage

    network = models.create(model, **settings) if model else models.DsoSpace(**settings).supernet()
    random = np.random.default_rng(0)
    images = tf.constant(random.normal(size=(batch_size, *network.input_shape[1:])), tf.float32)
    labels = tf.constant(random.integers(0, 10, batch_size))
    data = tf.data.Dataset.from_tensors((images, labels))
    config = TrainConfig(epochs=1, rematerialize=rematerialize)
    arguments = ("weights", network, data, None, Classification.of(network), config)
    stage = TrainStage(*arguments) if model else FullNetworkStage(*arguments, DsoConfig())
    stage.begin(1)
    step = tf.function(lambda: stage.train_step((images, labels)).losses, autograph=False)
    began = time.process_time()
    step.get_concrete_function()
    traced = time.process_time() - began
    built = peak_bytes()
    seconds = []
    for _ in range(STEPS):
        began = time.perf_counter()
        tf.nest.map_structure(lambda loss: loss.numpy(), step())
        seconds.append(time.perf_counter() - began)
    found = {"bytes": peak_bytes() - built, "seconds": min(seconds), "traced": traced}
    results.put(json.dumps(found))


def compare(model: str, settings: dict) -> None:
    """Prints what a network's step takes in both ways."""
    print(model or "dso")
    found = {}
    os.environ["MALLOC_ARENA_MAX"] = "1"  # or freed memory of one thread is no other's
    context = multiprocessing.get_context("spawn")
    for rematerialize in (False, True):
        results = context.Queue()
        arguments = (model, settings, rematerialize, flags.FLAGS.batch_size, results)
        process = context.Process(target=measure, args=arguments)
        process.start()
        found[rematerialize] = json.loads(results.get())
        process.join()
        values = found[rematerialize]
        name = "rematerialized" if rematerialize else "kept"
        print(
            f"  activations {name}: {values['bytes'] / 1e6:.0f} MB, {values['seconds']:.2f} s a "
            f"step, traced in {values['traced']:.1f} CPU s"
        )
    memory, seconds = (found[True][key] / found[False][key] for key in ("bytes", "seconds"))
    print(f"  rematerialized / kept: {memory:.2f} of the memory, {seconds:.2f} of the time")


def define_flags() -> None:
    flags.DEFINE_list("stage_blocks", ["4", "4"], "Blocks of each stage.")
    flags.DEFINE_integer("levels", 3, "Levels of a block.", lower_bound=1)
    flags.DEFINE_integer("width", 24, "Channels of the first stage.", lower_bound=1)
    flags.DEFINE_list("models", [], "Backbones, in place of DSO's network.")
    flags.DEFINE_integer("image_size", 32, "Side of the images.", lower_bound=8)
    flags.DEFINE_integer("batch_size", 32, "Images a step.", lower_bound=1)


def main() -> None:
    blocks = tuple(int(count) for count in flags.FLAGS.stage_blocks)
    shape = (flags.FLAGS.image_size, flags.FLAGS.image_size, 3)
    for name in flags.FLAGS.models:
        compare(name, {"input_shape": shape, "num_classes": 10})
    if not flags.FLAGS.models:
        settings = {
            "input_shape": shape,
            "stage_blocks": blocks,
            "stage_widths": tuple(flags.FLAGS.width * 2**stage for stage in range(len(blocks))),
            "levels": flags.FLAGS.levels,
        }
        compare("", settings)


if __name__ == "__main__":
    define_flags()
    run_app(main)
