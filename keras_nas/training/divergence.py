"""Finding the first tensor that is not finite, once a step has reported one."""

from __future__ import annotations

import inspect
from typing import Any

import keras
import tensorflow as tf

from keras_nas.errors import KerasNasError
from keras_nas.graph import read
from keras_nas.graph.ir import map_values


class DivergedError(KerasNasError):
    """A loss, a gradient or a layer's output was NaN or infinite."""


def first_bad_tensor(reported: str, replay: tuple[keras.Model, Any, bool] | None) -> str:
    """Names the first tensor, in the order of computation, that is not finite.

    Args:
        reported: The first name that the step itself reported: a loss or a gradient.
        replay: The model, the batch's inputs and the `training` flag, to run the step's forward
            pass again layer by layer; None if the stage has no such functional model.

    Returns:
        For example `output of layer 'conv_3'`; `reported` if every output is finite.
    """
    if replay is None:
        return reported
    model, inputs, training = replay
    for variable in model.trainable_variables:
        if not _finite(variable.value):
            return f"variable {variable.path}"
    inputs = [_local(tensor) for tensor in tf.nest.flatten(inputs)]
    if not all(_finite(tensor) for tensor in inputs):
        return "inputs of the batch"
    return _first_bad_output(model, inputs, training) or reported


def _first_bad_output(model: keras.Model, inputs: list[tf.Tensor], training: bool) -> str | None:
    graph = read(model)
    tensors = {
        value: tf.cast(tensor, value.dtype)
        for value, tensor in zip(graph.inputs, inputs, strict=True)
    }
    for node in graph.nodes:
        args, kwargs = map_values(tensors.__getitem__, (node.args, node.kwargs))
        if "training" in inspect.signature(node.operation.call).parameters:
            kwargs["training"] = training
        outputs = keras.tree.flatten(node.operation(*args, **kwargs))
        if not all(_finite(output) for output in outputs):
            return f"output of layer '{node.name}'"
        tensors.update(zip(node.outputs, outputs, strict=True))
    return None


def diverged_message(
    stage: str, epoch: int, step: int, tensor: str, kept: str | None, flags: str
) -> str:
    """The one line that a user reads: where, which tensor, what to do.

    Args:
        stage: The stage's name.
        epoch, step: From 0.
        tensor: What `first_bad_tensor` found.
        kept: The last checkpoint; None if there is none.
        flags: The prefix of the stage's training flags.
    """
    checkpoint = f" The last good checkpoint is {kept}." if kept else ""
    return (
        f"Stage '{stage}' diverged in epoch {epoch + 1}, step {step + 1}: the first tensor that is "
        f"not finite is the {tensor}.{checkpoint} A smaller learning rate "
        f"(`--{flags}_learning_rate`), a warm-up (`--{flags}_schedule=cosine "
        f"--{flags}_warmup_epochs=5`) or `--mixed_precision=float32` usually helps."
    )


def _finite(tensor) -> bool:
    tensor = tf.convert_to_tensor(tensor)
    return not tensor.dtype.is_floating or bool(tf.reduce_all(tf.math.is_finite(tensor)))


def _local(tensor) -> tf.Tensor:
    parts = tf.distribute.get_strategy().experimental_local_results(tensor)
    return tf.concat(parts, 0)
