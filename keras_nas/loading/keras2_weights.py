"""The weights of a file of Keras 2, given to the layers by name."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import h5py
import keras
import numpy as np

from keras_nas.errors import KerasNasError

Layers = dict[str, Any]
"""Keras 2's name of each layer, with the layer, or the `Layers` of a nested model."""

Stored = Callable[[str], list[tuple[str, np.ndarray]]]
"""Gives the weights of the model's own layer of that name, each with its name, in Keras 2's order;
none of a layer that the file has no weights of."""


def stored_in_h5(group: h5py.Group) -> Stored:
    """The weights of a `.h5` file: of its `model_weights`."""
    return functools.partial(_stored, group)


def assign(stored: Stored, layers: Layers):
    """Gives every layer its weights.

    Args:
        stored: The file's.
        layers: The rebuilt model's layers by the names they have in the file.

    Raises:
        KerasNasError: If a layer's weights are missing, or of another number or shape.
    """
    for name, layer in layers.items():
        weights = stored(name)
        if isinstance(layer, dict):
            _assign_nested(name, layer, weights)
        else:
            _assign_layer(name, layer, [value for _, value in weights])


def _stored(group: h5py.Group, name: str) -> list[tuple[str, np.ndarray]]:
    if name not in group:
        return []
    layer_group = group[name]
    names = _names(layer_group, "weight_names")
    return [(weight, np.asarray(layer_group[weight])) for weight in names]


def _names(group: h5py.Group, key: str) -> list[str]:
    """A list of names among a group's attributes; long ones are stored in pieces."""
    found = list(group.attrs.get(key, []))
    piece = 0
    while f"{key}{piece}" in group.attrs:
        found += list(group.attrs[f"{key}{piece}"])
        piece += 1
    return [name.decode() if isinstance(name, bytes) else str(name) for name in found]


def _assign_nested(name: str, layers: Layers, stored: list[tuple[str, np.ndarray]]):
    """By the layers' names in the weights' own, `conv/kernel:0`; all in order where those lack."""
    leaves = _leaves(layers)
    parts: dict[str, list[np.ndarray]] = {leaf: [] for leaf in leaves}
    for weight, value in stored:
        owners = [leaf for leaf in leaves if f"/{leaf}/" in f"/{weight}"]
        if not owners:
            raise KerasNasError(
                f"Weight '{weight}' of the nested model '{name}' belongs to none of its layers: "
                "load the file with TensorFlow 2.15 and save it as .keras."
            )
        parts[max(owners, key=len)].append(value)
    for leaf, values in parts.items():
        _assign_layer(f"{name}/{leaf}", leaves[leaf], values)


def _leaves(layers: Layers) -> Layers:
    found: Layers = {}
    for name, layer in layers.items():
        found.update(_leaves(layer) if isinstance(layer, dict) else {name: layer})
    return found


def _assign_layer(name: str, layer: keras.layers.Layer, values: list[np.ndarray]):
    variables = _variables(layer)
    shapes, wanted = [v.shape for v in values], [tuple(v.shape) for v in variables]
    if shapes != wanted:
        raise KerasNasError(
            f"Layer '{name}' ({type(layer).__name__}) has weights of shapes {wanted}, the file has "
            f"{shapes}."
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    if hasattr(layer, "finalize_state") and values:
        layer.finalize_state()


def _variables(layer: keras.layers.Layer) -> list[keras.Variable]:
    """The layer's weights in Keras 2's order: what is made to be trained first."""
    made_to_be_trained = {
        id(variable) for part in layer._flatten_layers() for variable in part._trainable_variables
    }
    return sorted(layer.weights, key=lambda variable: id(variable) not in made_to_be_trained)
