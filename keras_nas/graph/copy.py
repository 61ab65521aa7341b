"""Copies of operations and whole graphs: same configuration, same state, nothing shared."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_nas.errors import KerasNasError
from keras_nas.graph.compare import answers, equal, inference, stand_in
from keras_nas.graph.ir import Graph, Node, Value, map_values
from keras_nas.graph.kinds import activation_name, kind
from keras_nas.graph.state import copy_state, first_line

logger = logging.getLogger(__name__)


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
        config.update({key: None for key in ("lora_rank", "lora_alpha") if key in config})
        if own_activation is not None:
            config["activation"] = own_activation
        if isinstance(operation, keras.layers.Layer):
            return type(operation).from_config({**config, "name": name})
        copy = type(operation).from_config(config)
    except Exception as error:
        if not isinstance(operation, keras.layers.Layer):
            return operation
        raise KerasNasError(
            f"Layer '{operation.name}' ({type(operation).__name__}) cannot be rebuilt from its own "
            f"get_config(): {first_line(error)} Give the class a fitting get_config."
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


def call_copy(
    operation: Any,
    name: str,
    args: tuple,
    kwargs: dict[str, Any],
    changes: dict[str, Any] | None = None,
    weights: list | None = None,
) -> tuple[Any, Any]:
    """A copy of an operation that has been called, with the operation's state or other weights.

    Args:
        operation: What to copy; it is untouched.
        name: Name of the copy.
        args, kwargs: What the copy is called with, symbolic.
        changes: Changes to the configuration.
        weights: The copy's weights; by default the copy gets all that the operation keeps.

    Returns:
        The copy and what its call gave.

    Raises:
        KerasNasError: If a layer cannot be rebuilt from its configuration, or its copy cannot be
            brought to its state.
    """
    copy = copy_operation(operation, name, changes)
    with zero_initialized(copy):
        outputs = copy(*args, **kwargs)
    if weights is not None:
        for variable, weight in zip(copy.weights, weights, strict=True):
            variable.assign(weight)
        if hasattr(copy, "finalize_state"):
            copy.finalize_state()
        return copy, outputs
    copy_state(operation, copy)
    if not changes and _may_keep_more(operation):
        _check_answers(operation, copy, args, kwargs)
    return copy, outputs


def _may_keep_more(operation: Any) -> bool:
    """Whether a layer may keep what Keras' saving protocol does not know of: a user's may."""
    own = type(operation).__module__.startswith("keras_nas.")
    return isinstance(operation, keras.layers.Layer) and not kind(operation) and not own


def _check_answers(layer: Any, copy: Any, args: tuple, kwargs: dict[str, Any]):
    """Compares a layer with its copy on random numbers, where it gives one answer to one question.

    Raises:
        KerasNasError: If the copy answers otherwise.
    """
    args, kwargs = keras.tree.map_structure(
        lambda leaf: stand_in(leaf) if isinstance(leaf, keras.KerasTensor) else leaf,
        (args, inference(layer, kwargs)),
    )
    try:
        expected = answers(layer, args, kwargs)
        if not equal(answers(layer, args, kwargs), expected):
            return
    except Exception as error:  # noqa: BLE001  (the user's `call` may raise anything)
        logger.info("layer '%s' is not compared with its copy: %s", layer.name, first_line(error))
        return
    if not equal(answers(copy, args, kwargs), expected):
        raise KerasNasError(
            f"Layer '{layer.name}' ({type(layer).__name__}) keeps something that its copy lacks "
            "(their outputs differ), and would lose it in a file, too: give the class a get_config "
            "with all its arguments, and save_own_variables and load_own_variables for its state."
        )


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
                batch_shape=value.shape, dtype=value.dtype, name=value.source, **value.options
            )

    def arguments(self, node: Node) -> tuple[tuple, dict[str, Any]]:
        """The node's arguments with the tensors built so far in place of its values."""
        return map_values(lambda value: self.tensors[value], (node.args, node.kwargs))

    def finish(self, name: str, outputs: Callable[[Value], Any] | None = None) -> keras.Model:
        """The model, with the graph's own input and output structures."""
        results = map_values(outputs or self.tensors.__getitem__, self.graph.output_struct)
        rename_clashing_ops(keras.tree.flatten(results))
        inputs = map_values(self.tensors.__getitem__, self.graph.input_struct)
        with _recursion(len(self.graph.nodes)):
            return keras.Model(inputs, results, name=name)


@contextlib.contextmanager
def _recursion(nodes: int):
    """Room for Keras to walk a graph of so many nodes, which it does by a call a layer.

    What is built may be three times as deep as what was read: by a gate and an alignment.
    """
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, 1000 + 3 * nodes))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def copy_graph(
    graph: Graph,
    after: Callable[[Node, list[keras.KerasTensor]], list[keras.KerasTensor]],
    name: str,
    instead: Callable[[Node, GraphBuilder], Sequence[Any] | None] = lambda node, builder: None,
) -> keras.Model:
    """Copies a graph into a new model with copied weights, with a hook behind each call.

    Args:
        graph: What to copy.
        after: Called as `after(node, tensors)` with the new outputs of each node; what it returns
            is what the node's readers get.
        name: Name of the new model.
        instead: Called as `instead(node, builder)` before each call; what it returns takes the
            place of the call's outputs, None lets the operation be copied.

    Returns:
        A functional `keras.Model` that shares nothing with the one that was read.
    """
    builder = GraphBuilder(graph)
    copies: dict[str, Any] = {}
    for node in graph.nodes:
        outputs = instead(node, builder)
        if outputs is None:
            args, kwargs = builder.arguments(node)
            copy = copies.get(node.operation_name)
            if copy is None:
                copy, outputs = call_copy(node.operation, node.operation_name, args, kwargs)
                copies[node.operation_name] = copy
            else:
                outputs = copy(*args, **kwargs)
        outputs = after(node, keras.tree.flatten(outputs))
        builder.tensors.update(zip(node.outputs, outputs, strict=True))
    return builder.finish(name)


def renewed(model: keras.Model) -> keras.Model:
    """A model of the same layers with new weights; what was adapted to data stays as it is."""
    twin = keras.models.clone_model(model)
    for old, new in zip(model.layers, twin.layers, strict=True):
        if hasattr(old, "adapt"):
            copy_state(old, new)
    return twin


def rename_clashing_ops(outputs: list[keras.KerasTensor]):
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
