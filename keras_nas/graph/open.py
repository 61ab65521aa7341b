"""Opening composite layers: a user's layer made of layers becomes the functional model it is."""

from __future__ import annotations

import inspect
import logging
from typing import Any

import keras
import numpy as np
from keras.src.models.functional import Functional

from keras_nas.graph.copy import copy_operation, copy_weights
from keras_nas.graph.ir import Node, map_values
from keras_nas.graph.kinds import kind

logger = logging.getLogger(__name__)

OPEN_SIZE = 32
"""Stands in for an open size when an opened layer is compared with the layer itself."""


def open_composite(node: Node) -> Functional | None:
    """The functional model that a composite layer computes, from copies of its inner layers.

    The `call` of a layer that is not Keras' own, and that holds other layers and no weights beside
    theirs, is run on symbolic tensors; it must use Keras layers and ops only. The model found is
    compared with the layer on random numbers, and dropped if it differs. The layer itself is
    untouched.

    Args:
        node: A call of the layer. Its values give the shapes.

    Returns:
        A model whose inputs are the call's values in order, or `None` where the layer stays shut.
    """
    layer = node.operation
    if not _is_composite(layer):
        return None
    try:
        model = _trace(node)
    except Exception as error:  # noqa: BLE001  (the user's `call` may raise anything)
        logger.info("layer '%s' stays as it is: %s", layer.name, error)
        return None
    if not _uses_own_weights_only(model, layer) or not _agrees(model, node):
        logger.info("layer '%s' stays as it is: its call does more than its layers do", layer.name)
        return None
    return model


def _is_composite(layer: Any) -> bool:
    return (
        isinstance(layer, keras.layers.Layer)
        and not isinstance(layer, keras.Model)
        and not kind(layer)
        and bool(list(layer._flatten_layers(include_self=False)))
        and not layer._trainable_variables
        and not layer._non_trainable_variables
    )


def _trace(node: Node) -> Functional:
    copy = copy_operation(node.operation, node.operation.name)
    tensors = [keras.Input(batch_shape=value.shape, dtype=value.dtype) for value in node.inputs]
    numbers = iter(tensors)
    args, kwargs = map_values(lambda _: next(numbers), (node.args, node.kwargs))
    copy(*args, **kwargs)
    copy_weights(node.operation, copy)
    inputs = tensors if len(tensors) > 1 else tensors[0]
    model = keras.Model(inputs, copy.call(*args, **kwargs))
    if "training" not in node.kwargs:
        _forget_training(model)
    return model


def _forget_training(model: Functional):
    """Drops the `training` that the symbolic run baked into the calls: the caller decides later."""
    for keras_nodes in model._nodes_by_depth.values():
        for keras_node in keras_nodes:
            keras_node.arguments.kwargs.pop("training", None)


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
    random = np.random.default_rng(0)
    arrays = [
        random.normal(size=[1] + [OPEN_SIZE if n is None else n for n in value.shape[1:]])
        for value in node.inputs
    ]
    arrays = [array.astype(value.dtype) for array, value in zip(arrays, node.inputs, strict=True)]
    numbers = iter(arrays)
    args, kwargs = map_values(lambda _: next(numbers), (node.args, node.kwargs))
    if "training" in inspect.signature(node.operation.call).parameters:
        kwargs.setdefault("training", False)
    expected = keras.tree.flatten(node.operation(*args, **kwargs))
    found = keras.tree.flatten(
        model(arrays if len(arrays) > 1 else arrays[0], training=kwargs.get("training", False))
    )
    return len(expected) == len(found) and all(
        np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(expected, found, strict=True)
    )
