"""Opening composite layers: a user's layer made of layers becomes the functional model it is."""

from __future__ import annotations

import logging
import re
from typing import Any

import keras
from keras.src.models.functional import Functional
from keras.src.utils.naming import to_snake_case

from keras_nas.graph.compare import answers, equal, inference, stand_in
from keras_nas.graph.copy import copy_operation
from keras_nas.graph.ir import Node
from keras_nas.graph.kinds import kind
from keras_nas.graph.state import copy_state

logger = logging.getLogger(__name__)


_SHUT: set[type] = set()


def keep_shut(layer_type: type) -> None:
    """Lets `open_composite` leave the layers of a class as they are, since they are known whole."""
    _SHUT.add(layer_type)


def open_composite(node: Node) -> Functional | None:
    """The functional model that a composite layer computes, from copies of its inner layers.

    The `call` of a layer that is not Keras' own, and that holds other layers and no weights beside
    theirs, is run on symbolic tensors; it must use Keras layers and ops only. The model found is
    compared with the layer on random numbers, and dropped if it differs. The layer itself is
    untouched. Layers that the user gave no name are named by the composite and their order in it.

    Args:
        node: A call of the layer. Its values give the shapes.

    Returns:
        A model whose inputs are the call's inputs and masks in order, or `None` where the layer
        stays shut.
    """
    layer = node.operation
    if not _is_composite(layer):
        return None
    try:
        model = _trace(node)
        agrees = _agrees(model, node)
    except Exception as error:  # noqa: BLE001  (the user's `call` may raise anything)
        logger.info("layer '%s' stays as it is: %s", layer.name, error)
        return None
    if not agrees:
        logger.info("layer '%s' stays as it is: its call does more than its layers do", layer.name)
        return None
    return model


def _is_composite(layer: Any) -> bool:
    return (
        isinstance(layer, keras.layers.Layer)
        and not isinstance(layer, keras.Model)
        and not kind(layer)
        and type(layer) not in _SHUT
        and bool(list(layer._flatten_layers(include_self=False)))
        and not layer._trainable_variables
        and not layer._non_trainable_variables
    )


def _trace(node: Node) -> Functional:
    copy = copy_operation(node.operation, node.operation.name)
    inputs, masks = (
        [keras.Input(batch_shape=value.shape, dtype=value.dtype) for value in values]
        for values in (node.inputs, node.masks)
    )
    args, kwargs = node.filled(inputs, masks)
    copy(*args, **kwargs)
    copy_state(node.operation, copy)
    model = keras.Model(_unpacked([*inputs, *masks]), copy.call(*args, **kwargs))
    if not _uses_own_weights_only(model, copy):
        raise ValueError("its call uses weights beside those of its layers")
    if "training" not in node.kwargs:
        _forget_training(model)
    _name_by_place(model, node.operation.name)
    return model


def _forget_training(model: Functional):
    """Drops the `training` that the symbolic run baked into the calls: the caller decides later."""
    for keras_nodes in model._nodes_by_depth.values():
        for keras_node in keras_nodes:
            keras_node.arguments.kwargs.pop("training", None)


def _name_by_place(model: Functional, prefix: str):
    """Gives what Keras named by a running number (`conv2d_37`) a name by its place in the layer.

    So the names are the same at each reading, in every process, and after a file.
    """
    seen: set[int] = set()
    counts: dict[str, int] = {}
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for keras_node in model._nodes_by_depth[depth]:
            operation = keras_node.operation
            kind_name = to_snake_case(type(operation).__name__)
            if id(operation) in seen or not re.fullmatch(rf"{kind_name}(_\d+)?", operation.name):
                continue
            seen.add(id(operation))
            number = counts.get(kind_name, 0)
            counts[kind_name] = number + 1
            operation.name = f"{prefix}_{kind_name}" + (f"_{number}" if number else "")


def _uses_own_weights_only(model: Functional, layer: Any) -> bool:
    literals = [
        leaf
        for keras_nodes in model._nodes_by_depth.values()
        for keras_node in keras_nodes
        for leaf in keras.tree.flatten((keras_node.arguments.args, keras_node.arguments.kwargs))
    ]
    return len(model.weights) == len(layer.weights) and not any(
        isinstance(leaf, keras.Variable) for leaf in literals
    )


def _agrees(model: Functional, node: Node) -> bool:
    inputs, masks = ([stand_in(value) for value in values] for values in (node.inputs, node.masks))
    args, kwargs = node.filled(inputs, masks)
    kwargs = inference(node.operation, kwargs)
    expected = answers(node.operation, args, kwargs)
    training = {"training": kwargs.get("training", False)}
    return equal(answers(model, (_unpacked([*inputs, *masks]),), training), expected)


def _unpacked(tensors: list) -> Any:
    """What a functional model of these inputs takes."""
    return tensors if len(tensors) > 1 else tensors[0]
