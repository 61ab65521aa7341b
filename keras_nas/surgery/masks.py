"""Keras masks in surgery: tensors in the small model carry the masks that later layers look for."""

from __future__ import annotations

import inspect

import keras
from keras.src.backend.common.masking import get_keras_mask

from keras_nas.errors import KerasNasError
from keras_nas.graph import Graph, Node, Value
from keras_nas.graph.kinds import kind

LEAVE_OUT = frozenset(["Multiply", "Maximum", "Minimum"])
JOINS = LEAVE_OUT | {"Add", "Subtract", "Average", "Concatenate"}


def looked_for(graph: Graph) -> set[Value]:
    """The values whose mask is taken from the tensor itself: by a layer behind it, or by a loss.

    A layer whose call names its `mask` looks for none. Layers that hand masks on make their input's
    looked for where their output's is.
    """
    found = {value for value in graph.outputs if value.masked}
    for node in reversed(graph.nodes):
        if any(name == "mask" for name in node.kwargs if node.kwargs[name] in node.masks):
            continue
        if _takes_masks(node) or any(value in found for value in node.outputs):
            found.update(value for value in node.inputs if value.masked)
    return found


def bound_joins(graph: Graph) -> set[Node]:
    """The joins of masked tensors that must stay as they are, with all that they join.

    Multiply, Maximum and Minimum leave masked operands out; any join makes its output's mask of
    those of all its operands, which matters where that is looked for.
    """
    wanted = looked_for(graph)
    return {
        node
        for node in graph.nodes
        if kind(node.operation) in JOINS
        and any(value.masked for value in node.inputs)
        and (kind(node.operation) in LEAVE_OUT or node.outputs[0] in wanted)
    }


def _takes_masks(node: Node) -> bool:
    """Whether the call may read the masks of its inputs."""
    layer = node.operation
    if not isinstance(layer, keras.layers.Layer):
        return False
    names = inspect.signature(layer.call).parameters
    by_name = any(name == "mask" or name.endswith("_mask") for name in names)
    return by_name or not kind(layer) or kind(layer) in LEAVE_OUT


def has_mask(tensor: keras.KerasTensor) -> bool:
    return get_keras_mask(tensor) is not None


def carry(
    source: keras.KerasTensor | None, tensor: keras.KerasTensor, value: Value, name: str
) -> keras.KerasTensor:
    """`tensor` with the mask of `source`, by a stock layer that changes no number.

    `source` is None where nothing is left that has the mask.

    It is a frozen BatchNormalization with ε = 0, mean 0 and variance 1: of the stock layers that
    take a mask and hand it on, the one that computes nothing else.

    Raises:
        KerasNasError: If no such layer can be written for the tensor.
    """
    if source is None or not has_mask(source) or "float" not in tensor.dtype:
        raise lost(value)
    layer = keras.layers.BatchNormalization(
        epsilon=0.0, center=False, scale=False, trainable=False, name=name, dtype=tensor.dtype
    )
    return layer(tensor, mask=get_keras_mask(source))


def without(tensor: keras.KerasTensor) -> keras.KerasTensor:
    """The same tensor without a mask: operations of `keras.ops` hand none on."""
    return tensor[(slice(None),) * len(tensor.shape)]


def lost(value: Value) -> KerasNasError:
    """The error for a mask that cannot be carried on."""
    return KerasNasError(
        f"The Keras mask of '{value.source}' (shape {value.shape}) is read by a later layer, and "
        "no smaller tensor can carry it: keep more channels of the gates before it, or pass the "
        "mask to that layer as its `mask` argument."
    )
