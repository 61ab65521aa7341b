"""Rebuilding a functional Keras 3 model in tf_keras, which the quantisation toolkit works on."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tf_keras

from export.errors import UnsupportedOperationError
from export.tracing import input_names, open_shapes
from keras_nas import graph
from keras_nas.graph.kinds import activation_name, kind

_CONVOLUTION = (
    "strides", "padding", "dilation_rate", "activation", "use_bias"
)  # fmt: skip
_LAYERS = {
    "Conv2D": ("filters", "kernel_size", "groups", *_CONVOLUTION),
    "DepthwiseConv2D": ("kernel_size", "depth_multiplier", *_CONVOLUTION),
    "Dense": ("units", "activation", "use_bias"),
    "BatchNormalization": ("axis", "momentum", "epsilon", "center", "scale"),
    "Activation": ("activation",),
    "MaxPooling2D": ("pool_size", "strides", "padding"),
    "AveragePooling2D": ("pool_size", "strides", "padding"),
    "GlobalAveragePooling2D": ("keepdims",),
    "GlobalMaxPooling2D": ("keepdims",),
    "ZeroPadding2D": ("padding",),
    "Cropping2D": ("cropping",),
    "UpSampling2D": ("size", "interpolation"),
    "Flatten": (),
    "Reshape": ("target_shape",),
    "Dropout": ("rate",),
    "Add": (),
    "Concatenate": ("axis",),
}
_Counterpart = tuple[tf_keras.layers.Layer, list[np.ndarray]]
_STRUCTURAL = {
    "ops.Pad": ("pad", "pad_width"),
    "ops.Take": ("take", "indices", "axis"),
    "ops.Reshape": ("reshape", "newshape"),
    "ops.DepthToSpace": ("depth_to_space", "block_size"),
}
_ACTIVATION_ARGUMENTS = {
    "linear": "linear",
    "relu": "relu",
    "relu6": "linear",  # with a ReLU(6) behind it
    "softmax": "softmax",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "silu": "swish",
}
_MERGES = {"ops.Add": "Add", "ops.Concatenate": "Concatenate"}
_ACTIVATIONS = {"ops.Relu": "relu", "ops.Softmax": "softmax", "ops.Sigmoid": "sigmoid"}


@tf_keras.utils.register_keras_serializable(package="keras_nas")
class StructuralOperation(tf_keras.layers.Layer):
    """Moves values without computing: pad, take, reshape, depth_to_space.

    Args:
        operation: One of those names.
        arguments: What it is called with, as plain lists and numbers.
    """

    def __init__(self, operation: str, arguments: list[Any], **kwargs):
        super().__init__(**kwargs)
        self.operation = operation
        self.arguments = arguments

    def call(self, inputs):
        if self.operation == "pad":
            return tf.pad(inputs, self.arguments[0])
        if self.operation == "take":
            return tf.gather(inputs, self.arguments[0], axis=self.arguments[1])
        if self.operation == "reshape":
            return tf.reshape(inputs, self.arguments[0])
        return tf.nn.depth_to_space(inputs, self.arguments[0])

    def get_config(self):
        return {
            **super().get_config(),
            "operation": self.operation,
            "arguments": self.arguments,
        }


def rebuild(model: keras.Model) -> tf_keras.Model:
    """Returns the same network in tf_keras, with copies of the weights and the layers' names.

    It computes in float32, and takes its inputs so.

    Args:
        model: A functional Keras 3 model of convolutions, depthwise convolutions, Dense,
            BatchNormalization, activations, pooling, Add, Concatenate and what only moves values.

    Raises:
        UnsupportedOperationError: It holds a layer that has no quantised counterpart; named.
    """
    flat = graph.read(model)
    tensors = {
        id(value): tf_keras.Input(batch_shape=shape, dtype="float32", name=name)
        for name, shape, value in zip(
            input_names(model), open_shapes(model), flat.inputs, strict=True
        )
    }
    inputs = list(tensors.values())
    norms = _norms_of_dense(flat)
    layers: dict[str, list[_Counterpart]] = {}
    for node in flat.nodes:
        counterparts = layers.setdefault(node.operation_name, []) or _counterparts(node, norms)
        layers[node.operation_name] = counterparts
        sources = [tensors[id(value)] for value in node.inputs]
        result = sources[0] if len(sources) == 1 else sources
        for layer, _ in counterparts:
            result = layer(result)
        for value, tensor in zip(node.outputs, tf.nest.flatten(result), strict=True):
            tensors[id(value)] = tensor
    outputs = [tensors[id(value)] for value in flat.outputs]
    legacy = tf_keras.Model(inputs, outputs[0] if len(outputs) == 1 else outputs, name=model.name)
    for counterparts in layers.values():
        for layer, weights in counterparts:
            layer.set_weights(weights)
    return legacy


def _norms_of_dense(flat: graph.Graph) -> dict[graph.Node, graph.Node]:
    """Returns the BatchNormalization of each Dense that it alone reads, by the Dense.

    The converter folds one into a convolution; a Dense before one would stay in float32.
    """
    once = {node for nodes in flat.calls().values() if len(nodes) == 1 for node in nodes}
    found = {}
    for node in once:
        if kind(node.operation) != "BatchNormalization" or not _folds(node):
            continue
        source = node.inputs[0].producer
        last = node.operation.axis in (-1, len(node.inputs[0].shape) - 1)
        is_output = any(value is node.inputs[0] for value in flat.outputs)
        if source in once and kind(source.operation) == "Dense" and last and not is_output:
            found[source] = node
    return found


def _counterparts(node: graph.Node, norms: dict[graph.Node, graph.Node]) -> list[_Counterpart]:
    """Returns the layers that do the same one after the other, each with its weights."""
    if node in norms:
        return [_normalized_dense(node, norms[node].operation)]
    if node in norms.values():
        return []
    if kind(node.operation) == "Rescaling":
        return [_affine(node, node.operation.scale, node.operation.offset)]
    if kind(node.operation) == "Normalization" and not node.operation.invert:
        deviation = np.maximum(np.sqrt(np.asarray(node.operation.variance, "float32")), 1e-7)
        return [_affine(node, 1 / deviation, -np.asarray(node.operation.mean) / deviation)]
    if kind(node.operation) == "BatchNormalization" and not _folds(node):
        return [_affine(node, *_scale_and_offset(node.operation))]
    layer = _counterpart(node)
    weights = _weights(node)
    if activation_name(getattr(node.operation, "activation", None)) == "relu6":
        return [(layer, weights), (tf_keras.layers.ReLU(6.0, name=f"{node.name}_relu6"), [])]
    return [(layer, [] if isinstance(layer, tf_keras.layers.Dropout) else weights)]


def _weights(node: graph.Node) -> list[np.ndarray]:
    """Returns a layer's weights; a low-rank change (LoRA) is added to its kernel."""
    layer = node.operation
    if getattr(layer, "quantization_mode", None):
        raise _refusal(node, f"its weights, quantised to {layer.quantization_mode} by Keras,")
    if getattr(layer, "lora_enabled", False):
        bias = [np.asarray(layer.bias)] if layer.use_bias else []
        return [np.asarray(layer.kernel), *bias]
    return layer.get_weights() if hasattr(layer, "get_weights") else []


def _normalized_dense(node: graph.Node, norm: keras.layers.BatchNormalization) -> _Counterpart:
    """Returns a Dense with the BatchNormalization behind it in its weights."""
    scale, offset = _scale_and_offset(norm)
    kernel, bias = [*_weights(node), np.float32(0)][:2]
    return _layer(node, "Dense", use_bias=True), [kernel * scale, bias * scale + offset]


def _affine(node: graph.Node, scale: Any, offset: Any) -> _Counterpart:
    """Returns x · scale + offset as a 1×1 depthwise convolution, which has an int8 kernel."""
    channels = node.inputs[0].channels
    if len(node.inputs[0].shape) != 4 or channels is None:
        raise _refusal(node, "it is neither behind a convolution nor on an image")
    scale, offset = np.asarray(scale, "float32"), np.asarray(offset, "float32")
    if any(
        array.size not in (1, array.shape[-1] if array.ndim else 1) for array in (scale, offset)
    ):
        raise _refusal(node, "it differs over space and")
    kernel = np.broadcast_to(scale.reshape(-1), (channels,)).reshape(1, 1, channels, 1)
    bias = np.broadcast_to(offset.reshape(-1), (channels,))
    return tf_keras.layers.DepthwiseConv2D(1, name=node.name), [kernel, bias]


def _scale_and_offset(layer: keras.layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray]:
    mean, variance = np.asarray(layer.moving_mean), np.asarray(layer.moving_variance)
    gamma = np.asarray(layer.gamma) if layer.scale else 1.0
    beta = np.asarray(layer.beta) if layer.center else 0.0
    scale = gamma / np.sqrt(variance + layer.epsilon)
    return scale, beta - mean * scale


def _folds(node: graph.Node) -> bool:
    """Whether a BatchNormalization goes into the weights of the layer before it."""
    source = node.inputs[0].producer
    return (
        source is not None
        and kind(source.operation) in ("Conv2D", "DepthwiseConv2D", "Dense")
        and activation_name(source.operation.activation) == "linear"
        and len(node.inputs[0].readers) == 1
    )


def _counterpart(node: graph.Node) -> tf_keras.layers.Layer:
    name = kind(node.operation)
    if name in _LAYERS:
        return _layer(node, name)
    if name in ("ReLU", "LeakyReLU"):
        return _relu(node)
    if name == "Softmax":
        return tf_keras.layers.Softmax(name=node.name)
    if name == "ops.Relu6":
        return tf_keras.layers.ReLU(6.0, name=node.name)
    if name in _ACTIVATIONS:
        return tf_keras.layers.Activation(_ACTIVATIONS[name], name=node.name)
    if name in _MERGES and len(node.inputs) > 1:
        settings = {"axis": node.operation.axis} if name == "ops.Concatenate" else {}
        return getattr(tf_keras.layers, _MERGES[name])(name=node.name, **settings)
    if name in _STRUCTURAL and len(node.inputs) == 1:
        return _structural(node, name)
    raise _refusal(node)


def _layer(node: graph.Node, name: str, **changes: Any) -> tf_keras.layers.Layer:
    original = node.operation
    settings: dict[str, Any] = {}
    for key in _LAYERS[name]:
        value = getattr(original, key)
        if key == "activation":
            value = activation_name(value)
            if value not in _ACTIVATION_ARGUMENTS:
                raise _refusal(node, f"its activation {value or getattr(original, key)!r}")
            value = _ACTIVATION_ARGUMENTS[value]
        settings[key] = value
    if getattr(original, "data_format", "channels_last") != "channels_last":
        raise _refusal(node, "its data_format 'channels_first'")
    if name == "BatchNormalization" and settings["axis"] in (-1, len(node.inputs[0].shape) - 1):
        settings["axis"] = -1
    return getattr(tf_keras.layers, name)(name=node.name, **{**settings, **changes})


def _relu(node: graph.Node) -> tf_keras.layers.Layer:
    original = node.operation
    maximum = getattr(original, "max_value", None)
    slope = float(getattr(original, "negative_slope", 0.0))
    if float(getattr(original, "threshold", 0.0)) or (slope and maximum is not None):
        raise _refusal(node, "its threshold, or a slope with a maximum,")
    if slope:
        return tf_keras.layers.LeakyReLU(slope, name=node.name)
    return tf_keras.layers.ReLU(maximum, name=node.name)


def _structural(node: graph.Node, name: str) -> tf_keras.layers.Layer:
    operation, *keys = _STRUCTURAL[name]
    arguments = [_argument(node, key) for key in keys]
    if operation == "pad" and _argument(node, "mode") not in (None, "constant"):
        raise _refusal(node, "its padding mode")
    if operation == "reshape":
        arguments = [[-1 if size is None else int(size) for size in arguments[0]]]
    if any(argument is None for argument in arguments):
        raise _refusal(node)
    return StructuralOperation(operation, [_plain(value) for value in arguments], name=node.name)


def _argument(node: graph.Node, key: str) -> Any:
    """Returns what an operation was called with, wherever Keras keeps it."""
    for place in (key, f"_{key}"):
        value = getattr(node.operation, place, None)
        if value is not None:
            return value
    if key in node.kwargs:
        return node.kwargs[key]
    others = [value for value in node.args if not isinstance(value, graph.Value)]
    return others[0] if others and key in ("indices", "pad_width", "newshape") else None


def _plain(value: Any) -> Any:
    return np.asarray(value).tolist()


def _refusal(node: graph.Node, what: str = "") -> UnsupportedOperationError:
    kind_ = type(node.operation).__name__
    reason = f": {what} is not supported" if what else ""
    return UnsupportedOperationError(
        f"Quantisation-aware training does not know the layer `{node.name}` ({kind_}){reason}. "
        'Use the format "int8", which quantises after training.',
        [kind_],
    )
