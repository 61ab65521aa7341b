"""Finding the gates of a model, and switching them together."""

from __future__ import annotations

from typing import Any

import keras

from keras_nas.graph import read
from keras_nas.graph.read import as_functional
from keras_nas.layers import Gate


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


def set_mode(model: keras.Model, mode: str):
    """Sets every gate of the model to `"off"`, `"soft"` or `"hard"`."""
    for gate in find(model):
        gate.mode = mode
