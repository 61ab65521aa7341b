"""TensorFlow functions in models of Keras 2 (`TFOpLambda`), as operations of `keras.ops`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_nas.errors import KerasNasError


def find(function: str, layer_name: str) -> Callable[..., Any]:
    """What computes a TensorFlow function with operations of Keras.

    Raises:
        KerasNasError: If there is nothing for the function; names the layer.
    """
    name = function.removeprefix("compat.v1.")
    for prefix in ("math.", "nn.", "__operators__.", ""):
        short = name.removeprefix(prefix)
        if short in _FUNCTIONS:
            return _FUNCTIONS[short]
    raise KerasNasError(
        f"Layer '{layer_name}' calls the TensorFlow function tf.{function}, for which nothing is "
        "known in Keras 3: rebuild the model with a layer or operation of Keras in its place."
    )


def _binary(operation: Callable) -> Callable:
    return lambda x, y, name=None: operation(x, y)


def _unary(operation: Callable) -> Callable:
    def call(x, name=None):
        return operation(x)

    return call


def _reduction(operation: Callable) -> Callable:
    def call(input_tensor, axis=None, keepdims=False, name=None):
        return operation(input_tensor, axis=_axes(axis), keepdims=bool(keepdims))

    return call


def _axes(axis: Any) -> Any:
    return tuple(axis) if isinstance(axis, list) else axis


def _softmax(logits, axis=-1, name=None):
    return ops.softmax(logits, axis=-1 if axis is None else axis)


def _leaky_relu(features, alpha=0.2, name=None):
    return ops.leaky_relu(features, negative_slope=alpha)


def _gelu(features, approximate=False, name=None):
    return ops.gelu(features, approximate=approximate)


def _silu(features, beta=1.0):
    if beta != 1.0:
        return features * ops.sigmoid(beta * features)
    return ops.silu(features)


def _clip(t, clip_value_min, clip_value_max, name=None):
    return ops.clip(t, clip_value_min, clip_value_max)


def _concat(values, axis, name="concat"):
    return ops.concatenate(values, axis=axis)


def _stack(values, axis=0, name="stack"):
    return ops.stack(values, axis=axis)


def _reshape(tensor, shape, name=None):
    return ops.reshape(tensor, shape)


def _transpose(a, perm=None, conjugate=False, name="transpose"):
    return ops.transpose(a, perm)


def _expand_dims(tensor, axis=None, name=None, dim=None):
    return ops.expand_dims(tensor, axis=dim if axis is None else axis)


def _squeeze(tensor, axis=None, name=None, squeeze_dims=None):
    axis = squeeze_dims if axis is None else axis
    return ops.squeeze(tensor, axis=_axes(axis))


def _pad(tensor, paddings, mode="CONSTANT", name=None, constant_values=0):
    constant = {"constant_values": constant_values} if mode.upper() == "CONSTANT" else {}
    return ops.pad(tensor, [tuple(pair) for pair in paddings], mode=mode.lower(), **constant)


def _depth_to_space(tensor, block_size, name=None, data_format="NHWC"):
    if not hasattr(ops, "depth_to_space") or data_format != "NHWC":
        raise KerasNasError("tf.nn.depth_to_space has no equal in this version of Keras.")
    return ops.depth_to_space(tensor, block_size)


def _resize(
    images, size, method="bilinear", preserve_aspect_ratio=False, antialias=False, name=None
):
    if preserve_aspect_ratio:
        raise KerasNasError("tf.image.resize with preserve_aspect_ratio has no equal in Keras.")
    return ops.image.resize(images, tuple(size), interpolation=method, antialias=antialias)


def _l2_normalize(x, axis=None, epsilon=1e-12, name=None, dim=None):
    axis = _axes(dim if axis is None else axis)
    squares = ops.sum(ops.square(x), axis=axis, keepdims=True)
    return x * ops.rsqrt(ops.maximum(squares, epsilon))


def _cast(x, dtype, name=None):
    return ops.cast(x, dtype["config"] if isinstance(dtype, dict) else dtype)


def _matmul(a, b, transpose_a=False, transpose_b=False, **options):
    if any(options.get(key) for key in ("adjoint_a", "adjoint_b", "a_is_sparse", "b_is_sparse")):
        raise KerasNasError("tf.linalg.matmul of adjoint or sparse matrices has no equal in Keras.")
    turned = [
        ops.swapaxes(x, -1, -2) if turn else x for x, turn in ((a, transpose_a), (b, transpose_b))
    ]
    return ops.matmul(*turned)


def _get_item(tensor, slice_spec, var=None):
    parts = slice_spec if isinstance(slice_spec, list) else [slice_spec]
    return tensor[tuple(_key(part) for part in parts)]


def _key(part: Any) -> Any:
    if isinstance(part, dict):
        return slice(part["start"], part["stop"], part["step"])
    return part


def _identity(tensor, name=None):
    return keras.layers.Identity()(tensor)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{
        name: _binary(getattr(ops, operation))
        for name, operation in {
            "add": "add", "subtract": "subtract", "multiply": "multiply", "truediv": "true_divide",
            "divide": "true_divide", "maximum": "maximum", "minimum": "minimum", "pow": "power",
            "floordiv": "floor_divide", "floormod": "mod", "greater": "greater", "less": "less",
            "equal": "equal", "logical_and": "logical_and", "logical_or": "logical_or",
        }.items()
    },
    **{
        name: _unary(getattr(ops, operation))
        for name, operation in {
            "relu": "relu", "relu6": "relu6", "elu": "elu", "selu": "selu", "sigmoid": "sigmoid",
            "tanh": "tanh", "softplus": "softplus", "softsign": "softsign", "abs": "abs",
            "exp": "exp", "log": "log", "log1p": "log1p", "sqrt": "sqrt", "rsqrt": "rsqrt",
            "square": "square", "negative": "negative", "sign": "sign", "floor": "floor",
            "ceil": "ceil", "sin": "sin", "cos": "cos", "erf": "erf", "log_softmax": "log_softmax",
            "zeros_like": "zeros_like", "ones_like": "ones_like",
        }.items()
    },
    **{
        f"reduce_{name}": _reduction(getattr(ops, name)) for name in ("mean", "sum", "max", "min",
                                                                      "prod", "any", "all")
    },
    "clip_by_value": _clip, "concat": _concat, "stack": _stack, "reshape": _reshape,
    "transpose": _transpose, "expand_dims": _expand_dims, "squeeze": _squeeze, "pad": _pad,
    "depth_to_space": _depth_to_space, "image.resize": _resize, "l2_normalize": _l2_normalize,
    "cast": _cast, "linalg.matmul": _matmul, "matmul": _matmul, "softmax": _softmax,
    "leaky_relu": _leaky_relu, "gelu": _gelu, "silu": _silu, "swish": _silu,
    "getitem": _get_item, "identity": _identity, "stop_gradient": _unary(ops.stop_gradient),
}  # fmt: skip
