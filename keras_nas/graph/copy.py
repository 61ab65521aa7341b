"""Copies of operations and whole graphs: same configuration, same weights, nothing shared."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import keras

from keras_nas.errors import KerasNasError
from keras_nas.graph.ir import Graph, Node, Value, map_values
from keras_nas.graph.kinds import activation_name, kind


def copy_operation(operation: Any, name: str, changes: dict[str, Any] | None = None) -> Any:
    """A fresh, unbuilt copy of a layer or op under `name`, with changes to its configuration.

    An op that Keras cannot configure again is returned itself: ops hold no state. A `Lambda` is
    too: its function is code, not configuration.

    Raises:
        KerasNasError: If a layer cannot be rebuilt from its own configuration.
    """
    if isinstance(operation, keras.layers.Lambda):
        return operation
    own_activation = _own_activation(operation)
    try:
        config = {**operation.get_config(), **(changes or {})}
        if own_activation is not None:
            config["activation"] = None
        if isinstance(operation, keras.layers.Layer):
            layer = type(operation).from_config({**config, "name": name})
            if own_activation is not None:
                layer.activation = own_activation
            return layer
        copy = type(operation).from_config(config)
    except Exception as error:
        if not isinstance(operation, keras.layers.Layer):
            return operation
        raise KerasNasError(
            f"Layer '{operation.name}' ({type(operation).__name__}) cannot be rebuilt from its own "
            f"get_config(): {_first_line(error)} Give the class a fitting get_config."
        ) from error
    copy.name = name
    return copy


def _own_activation(operation: Any) -> Any:
    """The activation of a Keras layer where it is the user's own function (or layer), else `None`.

    It is handed on as it is: a function without weights can be shared, and need not be registered.
    """
    activation = getattr(operation, "activation", None)
    if not kind(operation) or not callable(activation) or activation_name(activation):
        return None
    return None if getattr(activation, "weights", None) else activation


@contextlib.contextmanager
def zero_initialized(layer: Any):
    """While open, building `layer` fills its weights with zeros: they are assigned right after."""
    attributes = {
        key: value
        for key, value in vars(layer).items()
        if isinstance(value, keras.initializers.Initializer)
    }
    for key in attributes:
        setattr(layer, key, keras.initializers.Zeros())
    try:
        yield
    finally:
        for key, value in attributes.items():
            setattr(layer, key, value)


class GraphBuilder:
    """Builds a new functional model from a graph, call by call.

    Attributes:
        tensors: The Keras tensor built for each `Value` so far.
    """

    def __init__(self, graph: Graph):
        self.graph = graph
        self.tensors: dict[Value, keras.KerasTensor] = {}
        for value in graph.inputs:
            self.tensors[value] = keras.Input(
                batch_shape=value.shape, dtype=value.dtype, name=value.source
            )

    def arguments(self, node: Node) -> tuple[tuple, dict[str, Any]]:
        """The node's arguments with the tensors built so far in place of its values."""
        return map_values(lambda value: self.tensors[value], (node.args, node.kwargs))

    def finish(self, name: str, outputs: Callable[[Value], Any] | None = None) -> keras.Model:
        """The model, with the graph's own input and output structures."""
        results = map_values(outputs or self.tensors.__getitem__, self.graph.output_struct)
        _rename_clashing_ops(keras.tree.flatten(results))
        return keras.Model(
            map_values(self.tensors.__getitem__, self.graph.input_struct), results, name=name
        )


def copy_graph(
    graph: Graph,
    after: Callable[[Node, list[keras.KerasTensor]], list[keras.KerasTensor]],
    name: str,
) -> keras.Model:
    """Copies a graph into a new model with copied weights, with a hook behind each call.

    Args:
        graph: What to copy.
        after: Called as `after(node, tensors)` with the new outputs of each node; what it returns
            is what the node's readers get.
        name: Name of the new model.

    Returns:
        A functional `keras.Model` that shares nothing with the one that was read.
    """
    builder = GraphBuilder(graph)
    copies: dict[str, Any] = {}
    for node in graph.nodes:
        args, kwargs = builder.arguments(node)
        copy = copies.get(node.operation_name)
        if copy is None:
            copy = copies[node.operation_name] = copy_operation(node.operation, node.operation_name)
            with zero_initialized(copy):
                outputs = copy(*args, **kwargs)
            copy_weights(node.operation, copy)
        else:
            outputs = copy(*args, **kwargs)
        outputs = after(node, keras.tree.flatten(outputs))
        builder.tensors.update(zip(node.outputs, outputs, strict=True))
    return builder.finish(name)


def _rename_clashing_ops(outputs: list[keras.KerasTensor]):
    """Gives ops that Keras named itself (`add`, `pad`) a free name where a layer has theirs."""
    found: dict[int, Any] = {}
    pending = [tensor._keras_history.operation for tensor in outputs]
    while pending:
        operation = pending.pop()
        if id(operation) in found:
            continue
        found[id(operation)] = operation
        for node in operation._inbound_nodes:
            pending += [parent.operation for parent in node.parent_nodes]
    layers = [op for op in found.values() if isinstance(op, keras.layers.Layer)]
    taken = {layer.name for layer in layers}
    for operation in reversed(found.values()):
        if isinstance(operation, keras.layers.Layer):
            continue
        name, number = operation.name, 1
        while operation.name in taken:
            operation.name, number = f"{name}_{number}", number + 1
        taken.add(operation.name)


def copy_weights(source: Any, target: Any):
    """Assigns every weight of `source` to `target`, where both are layers with weights."""
    if not isinstance(source, keras.layers.Layer) or source is target:
        return
    for old, new in zip(source.weights, target.weights, strict=True):
        new.assign(old)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
