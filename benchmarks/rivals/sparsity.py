"""Magnitude pruning of single weights by tensorflow-model-optimization, which works in tf_keras.

The network keeps all its channels, and so its macs and the size of its .tflite; only a compressed
file gets smaller. That is what most people who look for pruning in TensorFlow find first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tf_keras

from benchmarks.rivals.contest import Start
from export.legacy_keras import rebuild
from export.quantization import load_toolkit
from keras_nas.errors import KerasNasError

PRUNED = (tf_keras.layers.Conv2D, tf_keras.layers.Dense)
"""Layers whose kernels lose weights; tfmot itself leaves depthwise kernels whole."""
UPDATES = 20
"""How often the masks are made anew, over the first half of the steps."""
_SAME = 1e-3


def train_sparse(start: Start, target: str) -> keras.Model:
    """Finetunes the full network while its smallest weights go, to the target's share of params.

    The sparsity grows by tfmot's cubic schedule over the first half of the epochs; all else is as
    in everybody's finetuning.

    Raises:
        KerasNasError: The network has layers that tfmot or tf_keras do not know, or the share
            cannot be reached.
    """
    model = start.trained()
    contest, epochs = start.contest, start.data.train
    legacy = _counterpart(model, next(iter(epochs.epoch(0)))[0])
    kernels = [layer.kernel for layer in legacy.layers if isinstance(layer, PRUNED)]
    sparsity = sparsity_for(model, kernels, float(target.removesuffix("x")))
    steps = contest.epochs * epochs.steps_per_epoch
    toolkit = load_toolkit().sparsity.keras
    half = max(steps // 2, 1)
    every = max(half // UPDATES, 1)
    schedule = toolkit.PolynomialDecay(0.0, sparsity, 0, half - half % every, frequency=every)

    def wrapped(layer: Any) -> Any:
        if isinstance(layer, PRUNED):
            return toolkit.prune_low_magnitude(layer, pruning_schedule=schedule)
        return layer

    pruned = tf_keras.models.clone_model(legacy, clone_function=wrapped)
    step = _training_step(start, pruned, steps)
    masks = toolkit.UpdatePruningStep()
    masks.set_model(pruned)
    masks.on_train_begin()
    for epoch in range(contest.epochs):
        for inputs, targets in epochs.epoch(epoch):
            step(inputs, targets)
        masks.on_epoch_end(epoch)
    _copy_weights(toolkit.strip_pruning(pruned), model)
    return model


def sparsity_for(model: keras.Model, pruned: Sequence[Any], share: float) -> float:
    """The share of the prunable weights that must go, so that a share of all params is left.

    Args:
        model: The network.
        pruned: Its prunable kernels.
        share: Of its learned params, biases and scales included.

    Raises:
        KerasNasError: Too few of the params are prunable.
    """
    params = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    prunable = sum(int(np.prod(v.shape)) for v in pruned)
    sparsity = (1 - share) * params / prunable
    if sparsity >= 1:
        raise KerasNasError(
            f"Pruning single weights cannot leave {share:g} of the params of '{model.name}': only "
            f"{prunable:,} of {params:,} are in kernels that it prunes."
        )
    return sparsity


def _counterpart(model: keras.Model, inputs: tf.Tensor) -> Any:
    """The network in tf_keras, which gives the same and learns the same weights."""
    legacy = rebuild(model)
    _paired_weights(legacy, model)
    for layer in model.layers:
        if not layer.weights:
            legacy.get_layer(layer.name).trainable = False
    own, other = (np.asarray(each(inputs, training=False)) for each in (model, legacy))
    if not np.abs(own - other).max() <= _SAME * np.ptp(own):
        raise KerasNasError(
            f"'{model.name}' differs in tf_keras by {np.abs(own - other).max():.3g}, where outputs "
            f"span {np.ptp(own):.3g}."
        )
    return legacy


def _paired_weights(legacy: Any, model: keras.Model) -> list[tuple[Any, keras.layers.Layer]]:
    """The layers with weights in both networks."""
    pairs = [(legacy.get_layer(layer.name), layer) for layer in model.layers if layer.weights]
    for twin, layer in pairs:
        if [tuple(w.shape) for w in twin.weights] != [tuple(w.shape) for w in layer.weights]:
            raise KerasNasError(
                f"Layer '{layer.name}' of '{model.name}' has other weights in tf_keras."
            )
    return pairs


def _copy_weights(legacy: Any, model: keras.Model) -> None:
    for twin, layer in _paired_weights(legacy, model):
        layer.set_weights(twin.get_weights())


def _training_step(start: Start, pruned: Any, steps: int) -> Any:
    """One step of everybody's finetuning: along a cosine, weight decay, the teacher if any."""
    distill = start.contest.distill
    config = start.finetuning(start.contest.epochs)
    teacher = start.trained() if distill else None
    kernels = [v for v in pruned.trainable_variables if "kernel" in v.name]
    rate = tf_keras.optimizers.schedules.CosineDecay(config.learning_rate, steps)
    if config.optimizer == "adam":
        optimizer = tf_keras.optimizers.Adam(rate, epsilon=config.epsilon)
    else:
        optimizer = tf_keras.optimizers.SGD(rate, config.momentum)
    optimizer.build(pruned.trainable_variables)

    @tf.function
    def step(inputs, targets):
        with tf.GradientTape() as tape:
            outputs = pruned(inputs, training=True)
            loss = tf.reduce_mean(start.task.loss(targets, outputs))
            if distill is not None and teacher is not None:
                taught = teacher(inputs, training=False)
                distance = start.task.distill_loss(taught, outputs, distill.temperature)
                loss += distill.weight * (tf.reduce_mean(distance) - loss)
            loss += config.weight_decay * tf.add_n([tf.nn.l2_loss(kernel) for kernel in kernels])
        gradients = tape.gradient(loss, pruned.trainable_variables)
        optimizer.apply_gradients(zip(gradients, pruned.trainable_variables, strict=True))

    return step
