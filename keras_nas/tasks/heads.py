"""How a classifier ends: in logits, in a softmax, or in sigmoids."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_nas.graph import Node, kinds, read

_TRIED = np.array([[-1.0, 0.5, 2.0]], "float32")
_MOVES = frozenset(
    "Flatten Reshape Dropout Identity ActivityRegularization ops.Reshape ops.Squeeze ops.Cast "
    "ops.Identity".split()
)
_ACTIVATIONS = ("Softmax", "Activation")
"""Layers that may be tried as an activation: they hold no weights."""
_KNOWN: dict[str, Callable] = {"softmax": ops.softmax, "sigmoid": ops.sigmoid}


def head_of(model: keras.Model) -> str:
    """What the model's first output comes from: `"softmax"`, `"sigmoid"` or `""`, other things.

    The last operation counts, or its own activation, behind whatever only moves values. Activations
    are told by what they make of three numbers, so that it is all the same whether they are Keras'
    own, another library's or a layer.
    """
    node = read(model).outputs[0].producer
    while node is not None:
        function = _activation(node)
        for name, known in _KNOWN.items():
            if function is not None and _is(function, known):
                return name
        if not (kinds.kind(node.operation) in _MOVES or _is_linear_activation(node)):
            return ""
        node = node.inputs[0].producer
    return ""


def _activation(node: Node) -> Callable | None:
    operation = node.operation
    if kinds.kind(operation) in ("Softmax", "ops.Softmax", "ops.Sigmoid"):
        return operation
    return getattr(operation, "activation", None)


def _is(function: Any, known: Callable) -> bool:
    if not callable(function) or (
        isinstance(function, keras.layers.Layer) and kinds.kind(function) not in _ACTIVATIONS
    ):
        return False
    try:
        made = ops.convert_to_numpy(function(ops.convert_to_tensor(_TRIED)))
    except (TypeError, ValueError):  # it asks for other arguments or another shape
        return False
    expected = ops.convert_to_numpy(known(_TRIED))
    return made.shape == expected.shape and bool(np.allclose(made, expected, atol=1e-6))


def _is_linear_activation(node: Node) -> bool:
    return kinds.kind(node.operation) == "Activation" and (
        kinds.activation_name(node.operation.activation) == "linear"
    )
