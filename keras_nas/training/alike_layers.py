"""BatchNormalizations that are alike, traced once for all of them within what is traced for many.

Nearly half of the nodes of a block's graph, and of its gradient's, are those of its
normalizations, which in a block of parallel operations are the same but for their variables.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_nas.training.stand_ins import standing_for


class AlikeNormalizations:
    """Functions of an input and of a normalization's variables, one for each kind.

    Alike are BatchNormalizations of the same configuration. Values, gradients and the moves of
    statistics are the layer's.
    """

    def __init__(self):
        self._functions: dict[str, _Normalization] = {}

    @contextlib.contextmanager
    def called(self, layers: Sequence[keras.layers.Layer]) -> Iterator[None]:
        """While open, the normalizations among the layers call their kind's function."""
        own = [layer for layer in layers if _is_plain(layer)]
        for layer in own:
            function = self._functions.setdefault(_kind(layer), _Normalization(layer))
            layer.call = _Call(layer, function)
        try:
            yield
        finally:
            for layer in own:
                del layer.call


class _Normalization:
    """A normalization as a function of its input and its variables."""

    def __init__(self, layer: keras.layers.BatchNormalization):
        self._layer = layer
        self._variables = layer.variables
        self.function = tf.function(self._normalized, autograph=False)

    def _normalized(self, inputs, others, training):
        with standing_for(self._variables, others):
            return type(self._layer).call(self._layer, inputs, training=training)


class _Call:
    """Takes the place of a layer's `call`."""

    def __init__(self, layer: keras.layers.BatchNormalization, alike: _Normalization):
        self._layer = layer
        self._alike = alike

    def __call__(self, inputs, training=None, mask=None):
        if mask is not None:
            return type(self._layer).call(self._layer, inputs, training=training, mask=mask)
        held = [variable.value for variable in self._layer.variables]
        return self._alike.function(inputs, held, training)


def _is_plain(layer: keras.layers.Layer) -> bool:
    return type(layer) is keras.layers.BatchNormalization and not layer.synchronized


def _kind(layer: keras.layers.BatchNormalization) -> str:
    shapes = [(tuple(variable.shape), variable.dtype) for variable in layer.variables]
    return repr((configuration(layer), shapes))


def configuration(layer: keras.layers.Layer) -> tuple[Any, ...]:
    """What layers have in common that are alike but for their variables."""
    config = {
        key: value
        for key, value in layer.get_config().items()
        if key not in ("name", "block") and not key.endswith("_initializer")
    }
    scale = getattr(layer, "scale", None)
    return (
        type(layer),
        layer.trainable,
        id(getattr(layer, "activation", None)),
        config,
        getattr(scale, "index", None),
    )
