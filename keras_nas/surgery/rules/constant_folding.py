"""Evaluating an operation on constants, by the operation itself."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from keras_nas.graph import Node, Value
from keras_nas.graph.activations import Activation, activation_of
from keras_nas.surgery.rules.arrays import collapsed, map_operands
from keras_nas.surgery.rules.base import Call
from keras_nas.surgery.rules.known_values import Known, of_array, settled


def on_constants(node: Node, constants: dict[Value, np.ndarray]) -> np.ndarray:
    """The node's output, a number a channel, where every input channel is constant.

    Arrays among the arguments are taken at their full size: a channel that comes out different at
    different positions, or not finite, is NaN.

    Worked example: channels (0, 5) plus the array [[1, 2], [3, 2]] are (NaN, 7).

    Args:
        node: An elementwise call on tensors whose channels lie on the last axis.
        constants: For each value read, one number a channel (length 1 where it broadcasts).

    Returns:
        float64 array with one entry an output channel.
    """

    def stand_in(value: Value):
        vector = constants[value].astype(value.dtype)
        return keras.ops.convert_to_tensor(vector.reshape((1,) * (len(value.shape) - 1) + (-1,)))

    args, kwargs = map_operands((node.args, node.kwargs), stand_in, collapsed)
    result = keras.ops.convert_to_numpy(node.operation(*args, **kwargs)).astype("float64")
    rows = result.reshape(-1, result.shape[-1])
    known = np.isfinite(rows[0]) & (rows == rows[0]).all(axis=0)
    return np.where(known, rows[0], np.nan)


def own_activation(call: Call) -> Activation:
    """What is known of the activation that a layer has of its own."""
    return activation_of(call.layer.activation, len(call.node.outputs[0].shape))


def apply_activation(call: Call, constants: np.ndarray) -> np.ndarray:
    """A layer's own elementwise activation on one number a channel; NaN (live) stays NaN."""
    known = ~np.isnan(constants)
    result = np.full_like(constants, np.nan)
    if known.any():
        shape = (1,) * (len(call.node.outputs[0].shape) - 1) + (-1,)
        values = keras.ops.convert_to_tensor(constants[known].astype("float32").reshape(shape))
        found = keras.ops.convert_to_numpy(call.layer.activation(values)).reshape(-1)
        result[known] = np.where(np.isfinite(found), found, np.nan)
    return result


def activated(call: Call, vector: tf.Tensor) -> tf.Tensor:
    """`apply_activation` in TensorFlow: the layer's own activation on one number a channel."""
    shape = [1] * (len(call.node.outputs[0].shape) - 1) + [-1]
    return tf.reshape(call.layer.activation(tf.reshape(vector, shape)), [-1])


def on_known(node: Node, given: list[Known], width: int) -> Known:
    """`on_constants` in TensorFlow: live where the result is not the same everywhere."""
    if all(isinstance(known.constant, np.ndarray) for known in given):
        constants = [np.nan_to_num(known.constant) for known in given]
        with tf.init_scope():
            made = on_constants(node, dict(zip(node.inputs, constants, strict=True)))
        return of_array(np.broadcast_to(made, (width,)))
    vectors = iter(given)

    def stand_in(value: Value):
        constant = tf.cast(next(vectors).constant, value.dtype)
        return tf.reshape(constant, (1,) * (len(value.shape) - 1) + (-1,))

    args, kwargs = map_operands((node.args, node.kwargs), stand_in, collapsed)
    result = node.operation(*args, **kwargs)
    if result.shape.num_elements() == width:
        return settled(np.zeros(width, bool), tf.reshape(result, [width]))
    rows = tf.reshape(result, [-1, width])
    return settled(tf.reduce_any(rows != rows[0], axis=0), rows[0])
