"""The memory that a training step of DSO's full network takes, with --rematerialize and without.

    python -m benchmarks.rematerialization_memory --stage_blocks=4,4 --levels=3 --batch_size=32

Each is measured in a process of its own: the most resident memory after three steps, less that of
the process with the network built. Prints both, their ratio, and the seconds of a step.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import time

import numpy as np
from absl import flags

from apps.main import run as run_app

_BLOCKS = flags.DEFINE_list("stage_blocks", ["4", "4"], "Blocks of each stage.")
_LEVELS = flags.DEFINE_integer("levels", 3, "Levels of a block.", lower_bound=1)
_WIDTH = flags.DEFINE_integer("width", 24, "Channels of the first stage.", lower_bound=1)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Images a step.", lower_bound=1)

STEPS = 3


def peak_bytes() -> int:
    """The most resident memory of this process so far (Linux counts in KiB)."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure(settings: dict, rematerialize: bool, batch_size: int, results) -> None:
    """Puts the bytes and seconds of the training step into the queue `results`, as JSON."""
    import tensorflow as tf

    from keras_nas.models import DsoSpace
    from keras_nas.search.dso.config import DsoConfig
    from keras_nas.search.dso.edge_stage import FullNetworkStage
    from keras_nas.tasks import Classification
    from keras_nas.training.trainer import TrainConfig

    supernet = DsoSpace(**settings).supernet()
    random = np.random.default_rng(0)
    images = tf.constant(random.normal(size=(batch_size, *supernet.input_shape[1:])), tf.float32)
    labels = tf.constant(random.integers(0, 10, batch_size))
    stage = FullNetworkStage(
        "weights", supernet, tf.data.Dataset.from_tensors((images, labels)), None,
        Classification(10), TrainConfig(epochs=1), DsoConfig(rematerialize=rematerialize),
    )  # fmt: skip
    stage.begin(1)
    step = tf.function(lambda: stage.train_step((images, labels)).losses)
    step.get_concrete_function()
    built = peak_bytes()
    seconds = []
    for _ in range(STEPS):
        began = time.perf_counter()
        tf.nest.map_structure(lambda loss: loss.numpy(), step())
        seconds.append(time.perf_counter() - began)
    results.put(json.dumps({"bytes": peak_bytes() - built, "seconds": min(seconds)}))


def main() -> None:
    blocks = tuple(int(count) for count in _BLOCKS.value)
    settings = {
        "stage_blocks": blocks,
        "stage_widths": tuple(_WIDTH.value * 2**stage for stage in range(len(blocks))),
        "levels": _LEVELS.value,
    }
    found = {}
    context = multiprocessing.get_context("spawn")
    for rematerialize in (False, True):
        results = context.Queue()
        arguments = (settings, rematerialize, _BATCH_SIZE.value, results)
        process = context.Process(target=measure, args=arguments)
        process.start()
        found[rematerialize] = json.loads(results.get())
        process.join()
        name = "rematerialized" if rematerialize else "kept"
        values = found[rematerialize]
        print(
            f"activations {name}: {values['bytes'] / 1e6:.0f} MB, {values['seconds']:.2f} s a step"
        )
    memory, seconds = (found[True][key] / found[False][key] for key in ("bytes", "seconds"))
    print(f"rematerialized / kept: {memory:.2f} of the memory, {seconds:.2f} of the time")


if __name__ == "__main__":
    run_app(main)
