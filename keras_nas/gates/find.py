"""Finding the gates of a model, and switching them together."""

from __future__ import annotations

from typing import Any, TypeVar

import keras

from keras_nas.errors import KerasNasError
from keras_nas.graph import Graph, Node, read
from keras_nas.graph.read import as_functional
from keras_nas.layers import Gate, ScaledEdge

GateKind = TypeVar("GateKind", bound=Gate)


def find(model: keras.Model) -> list[Gate]:
    """The gate layers of a model in graph order, each once; those inside other layers too.

    Args:
        model: Any Keras model. Without a readable graph (a subclassed model) the order is that in
            which its layers were made.
    """
    if as_functional(model) is None:
        operations: list[Any] = [model]
    else:
        operations = [node.operation for node in read(model).nodes]
    layers = [
        layer
        for operation in operations
        if isinstance(operation, keras.layers.Layer)
        for layer in operation._flatten_layers()
    ]
    return list(dict.fromkeys(layer for layer in layers if isinstance(layer, Gate)))


def learnable(
    model: keras.Model,
    kind: type[GateKind],
    reason: str = "No layer fits the order and the include and exclude patterns.",
) -> list[GateKind]:
    """The gates of one kind, in graph order.

    Args:
        model: The supernet.
        kind: A gate class.
        reason: Why a model may have none, for the message.

    Raises:
        KerasNasError: If the model has none.
    """
    found = [gate for gate in find(model) if isinstance(gate, kind)]
    if not found:
        raise KerasNasError(f"Model '{model.name}' has no {kind.__name__} to learn. {reason}")
    return found


def is_channel_gate(operation: Any) -> bool:
    """Whether an operation is a gate with a factor for each channel."""
    return isinstance(operation, Gate) and not isinstance(operation, ScaledEdge)


def calls_by_channel(model: keras.Model, graph: Graph) -> dict[str, list[Node]]:
    """The calls of each gate by channel (no scaled edges), by its name, in graph order.

    Args:
        model: A gated model.
        graph: What was read of it.

    Raises:
        KerasNasError: If the model has no gate by channel, or one that is not in the graph.
    """
    calls = {
        name: nodes for name, nodes in graph.calls().items() if is_channel_gate(nodes[0].operation)
    }
    found = [gate for gate in find(model) if is_channel_gate(gate)]
    if not found or len(found) != len(calls):
        raise KerasNasError(
            f"Model '{model.name}' has {len(found)} gates by channel, {len(calls)} of "
            "them in its graph: insert them with keras_nas.gates.insert first."
        )
    return calls


def set_mode(model: keras.Model, mode: str):
    """Sets every gate of the model to `"off"`, `"soft"` or `"hard"`."""
    for gate in find(model):
        gate.mode = mode
