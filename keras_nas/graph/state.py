"""What a layer keeps: its variables, tables and statistics, handed on by Keras' saving protocol."""

from __future__ import annotations

import tempfile
from typing import Any

import keras

from keras_nas.errors import KerasNasError


class _Store(dict):
    """Stands in for a file's group: what is put in comes out as an array, as it would there."""

    def __setitem__(self, key: str, value: Any):
        super().__setitem__(key, keras.ops.convert_to_numpy(value))


def copy_state(source: Any, target: Any):
    """Makes a built copy of a layer keep what the layer itself keeps.

    Both, and the layers in them, are asked by the protocol that writes and reads `.keras` files:
    `save_own_variables` and `load_own_variables`, `save_assets` and `load_assets`. So what survives
    a file survives here: weights, statistics, vocabularies, a user's own tables; LoRA's matrices
    come out added to the kernel. Random states and `trainable` are handed on as well.

    Raises:
        KerasNasError: If the copy has other parts than the layer, or does not take its state.
    """
    if not isinstance(source, keras.layers.Layer) or source is target:
        return
    parts, new_parts = source._flatten_layers(), target._flatten_layers()
    try:
        for old, new in zip(parts, new_parts, strict=True):
            _copy_part(old, new)
        for old, new in zip(_beside_weights(source), _beside_weights(target), strict=True):
            new.assign(old)
    except Exception as error:
        raise KerasNasError(
            f"Layer '{source.name}' ({type(source).__name__}) cannot hand its state to a copy made "
            f"from its get_config(): {first_line(error)}"
        ) from error


def _copy_part(old: keras.layers.Layer, new: keras.layers.Layer):
    if type(old) is not type(new):
        raise TypeError(f"it holds a {type(old).__name__}, its copy a {type(new).__name__}.")
    mode = getattr(old, "quantization_mode", None)
    if mode != getattr(new, "quantization_mode", None):
        raise TypeError(
            f"'{old.name}' in it is quantised ({mode}), which its configuration does not say: "
            "prune the float model, then call quantize() on what surgery built."
        )
    if new.trainable != old.trainable:
        new.trainable = old.trainable
    store = _Store()
    old.save_own_variables(store)
    new.load_own_variables(store)
    if hasattr(old, "save_assets") and hasattr(new, "load_assets"):
        with tempfile.TemporaryDirectory() as folder:
            old.save_assets(folder)
            new.load_assets(folder)
    if hasattr(old, "get_vocabulary") and old.get_vocabulary() != new.get_vocabulary():
        raise ValueError("its vocabulary is not that of its file (Keras would lose it, too).")


def _beside_weights(layer: keras.layers.Layer) -> list:
    """The states of random generators and metrics, which are variables but no weights."""
    weights = {id(weight) for weight in layer.weights}
    return [variable for variable in layer.variables if id(variable) not in weights]


def quantization(layer: Any) -> str | None:
    """How a layer, or a layer in it, is quantised (`"int8"`, `"float8"`, …), `None` if not."""
    if not isinstance(layer, keras.layers.Layer):
        return None
    modes = (getattr(part, "quantization_mode", None) for part in layer._flatten_layers())
    return next((mode for mode in modes if mode), None)


def first_line(error: Exception) -> str:
    """The first line of an error's message, for a message of one line."""
    return str(error).strip().split("\n")[0]
