"""Letting a Keras model compute in another precision for a while, without a copy of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

HALVES = ("float16", "bfloat16")
_FLOATS = (*HALVES, "float32", "float64")


class _ComputingPolicy(keras.DTypePolicy):
    """A policy with the variables' dtype of another one, so that variables are still cast."""

    def __init__(self, dtype: str, variable_dtype: str):
        super().__init__(dtype)
        self._variable_dtype = variable_dtype


def half_precision(model: Any) -> str | None:
    """Returns "float16" or "bfloat16" where a layer of a `keras.Model` computes in it."""
    found = {layer.compute_dtype for layer in _layers(model)}
    return next((dtype for dtype in HALVES if dtype in found), None)


@contextlib.contextmanager
def computing_in(model: Any, dtype: str) -> Iterator[None]:
    """While open, the layers of `model` that compute in floating point do so in `dtype`.

    It is the model itself that computes, with all that its layers hold (weights, adapted
    statistics, tables, functions), so nothing can be lost as in a copy. Layers of integers or
    strings stay as they are, and so does what a layer casts to a dtype that it names itself. Not
    for models that another thread uses at the same time.

    Args:
        model: A `keras.Model`; any other object is left alone.
        dtype: "float32" or "float64".
    """
    layers = [layer for layer in _layers(model) if layer.compute_dtype in _FLOATS]
    policies = [(layer, layer._dtype_policy) for layer in layers]
    tensors = {id(tensor): tensor for layer in layers for tensor in _declared_inputs(layer)}
    dtypes = [(tensor, tensor._dtype) for tensor in tensors.values()]
    try:
        for layer, policy in policies:
            if policy.quantization_mode is None:
                layer._dtype_policy = _ComputingPolicy(dtype, layer.variable_dtype)
        for tensor, declared in dtypes:
            if declared in _FLOATS:  # a functional model casts its inputs to what they declare
                tensor._dtype = dtype
        yield
    finally:
        for layer, policy in policies:
            layer._dtype_policy = policy
        for tensor, declared in dtypes:
            tensor._dtype = declared


def _layers(model: Any) -> list[keras.layers.Layer]:
    return list(model._flatten_layers()) if isinstance(model, keras.Model) else []


def _declared_inputs(layer: keras.layers.Layer) -> list[keras.KerasTensor]:
    return list(getattr(layer, "inputs", None) or []) if isinstance(layer, keras.Model) else []
