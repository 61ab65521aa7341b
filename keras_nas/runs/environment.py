"""What a run sets for its whole process: seeds, determinism, dtype policy, devices."""

from __future__ import annotations

import functools

import keras
import tensorflow as tf

from keras_nas.errors import UsageError
from keras_nas.runs.config import STRATEGIES


def set_seed(seed: int, deterministic: bool) -> None:
    """Seeds Python, NumPy and TensorFlow; with `deterministic`, ops give the same bits each run."""
    keras.utils.set_random_seed(seed)
    if deterministic:
        tf.config.experimental.enable_op_determinism()


def make_strategy(kind: str, replicas: int = 0) -> tf.distribute.Strategy:
    """The distribution strategy of a run.

    Args:
        kind: `"none"`; `"mirrored"`: all GPUs of this host, or without one `replicas` logical CPUs;
            `"multi_worker"`: the hosts of the TF_CONFIG environment variable.
        replicas: For `"mirrored"` on CPU.

    Raises:
        UsageError: If `kind` is unknown, or TensorFlow has started with fewer CPUs.
    """
    if kind == "none":
        return tf.distribute.get_strategy()
    if kind == "multi_worker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    if kind != "mirrored":
        raise UsageError(f"`distribute` must be one of {STRATEGIES}. Received: distribute={kind!r}")
    if tf.config.list_physical_devices("GPU"):
        return _mirrored()
    if replicas > 1:
        _divide_cpu(replicas)
    return _mirrored(tuple(f"CPU:{index}" for index in range(max(1, replicas))))


@functools.cache
def _mirrored(devices: tuple[str, ...] | None = None) -> tf.distribute.MirroredStrategy:
    """One strategy for the process: a second one's collectives take the keys of the first."""
    return tf.distribute.MirroredStrategy(devices)


def _divide_cpu(replicas: int) -> None:
    try:
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0],
            [tf.config.LogicalDeviceConfiguration()] * replicas,
        )
    except RuntimeError as error:  # TensorFlow has started with the devices that it has
        present = len(tf.config.list_logical_devices("CPU"))
        if present < replicas:
            raise UsageError(
                f"`replicas` must be at most {present}, the logical CPUs that TensorFlow has "
                f"started with in this process. Received: replicas={replicas}"
            ) from error
