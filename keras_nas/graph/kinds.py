"""What an operation is, in one word: the key under which costs, gates and surgery know it."""

from __future__ import annotations

from typing import Any

import keras

ELEMENTWISE_ACTIVATIONS = frozenset(
    "celu elu exponential gelu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu "
    "linear log_sigmoid mish relu relu6 selu sigmoid silu soft_shrink softplus softsign "
    "sparse_plus sparse_sigmoid squareplus swish tanh tanh_shrink threshold".split()
)
HOMOGENEOUS_ACTIVATIONS = frozenset(["relu", "leaky_relu", "linear"])
NON_ZERO_AT_ZERO = frozenset(
    ["exponential", "hard_sigmoid", "log_sigmoid", "sigmoid", "softplus", "squareplus",
     "sparse_plus", "sparse_sigmoid", "threshold"]
)  # fmt: skip
CONVOLUTIONS = frozenset(["Conv1D", "Conv2D", "Conv3D"])
DEPTHWISE_CONVOLUTIONS = frozenset(["DepthwiseConv1D", "DepthwiseConv2D"])
SEPARABLE_CONVOLUTIONS = frozenset(["SeparableConv1D", "SeparableConv2D"])
TRANSPOSED_CONVOLUTIONS = frozenset(["Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"])
ALL_CONVOLUTIONS = (
    CONVOLUTIONS | DEPTHWISE_CONVOLUTIONS | SEPARABLE_CONVOLUTIONS | TRANSPOSED_CONVOLUTIONS
)


def kind(operation: Any) -> str:
    """`"Conv2D"` for Keras' own layers, `"ops.Add"` for its ops, `""` for everything else.

    A subclass of a Keras layer is something else: its `call` may do anything.
    """
    cls = type(operation)
    if getattr(keras.layers, cls.__name__, None) is cls:
        return cls.__name__
    if cls.__module__.startswith(("keras.src.ops.", "keras.src.activations.")):
        return f"ops.{cls.__name__}"
    return ""


def activation_name(activation: Any) -> str:
    """Name of a Keras activation function; `""` for the user's own functions."""
    name = getattr(activation, "__name__", "")
    return name if name and getattr(keras.activations, name, None) is activation else ""


def is_channels_last(operation: Any) -> bool:
    """Whether an operation that has a `data_format` works with channels in the last axis."""
    return getattr(operation, "data_format", None) in (None, "channels_last")
