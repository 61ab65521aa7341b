"""A functional model cut at its joins; segments that are alike are traced once.

A network of blocks repeats itself. Its graph stays small if each distinct block is traced once, as
a function of its input and of its variables' values, and called with those of each block.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_nas.graph import Graph, read
from keras_nas.graph.ir import map_values
from keras_nas.layers.edge_scales import factors_together
from keras_nas.training.alike_layers import AlikeNormalizations, configuration
from keras_nas.training.stand_ins import on_replica, standing_for


class Segments:
    """A functional model whose alike segments are traced once.

    A segment lies between two cuts, see `segments_of`. Alike are segments of the same layers, in
    configuration, shapes and connections, whose variables have the same shapes. Values, gradients
    and the moves of statistics are the model's. What cannot be compared (layers that are not of
    Keras or keras_nas, nested models, operations, activity regularizers) is called as it is.

    Example:

    ```python
    forward = Segments(model)
    with tf.GradientTape() as tape:
        outputs = forward(images, training=True)
    ```

    Args:
        model: A functional model; with several inputs or outputs it is called as it is.
    """

    def __init__(self, model: keras.Model):
        one = len(model.inputs) == len(model.outputs) == 1
        self.segments = segments_of(model) if one else [model]
        described = [description(segment) if one else None for segment in self.segments]
        kinds = [found[0] for found in described if found is not None]
        if len(set(kinds)) == len(kinds):  # the cuts alone would change the order of sums
            self.segments, described = [model], [None]
        functions: dict[str, _Alike] = {}
        normalizations = AlikeNormalizations()
        self._calls: list[Callable] = []
        for segment, found in zip(self.segments, described, strict=True):
            if found is None:
                self._calls.append(segment)
                continue
            kind, variables = found
            alike = functions.setdefault(kind, _Alike(segment, variables, normalizations))
            self._calls.append(_Called(alike, variables))

    def __call__(self, inputs, training: bool = False):
        """The model's output for `inputs`."""
        for call in self._calls:
            inputs = call(inputs, training=training)
        return inputs


class _Alike:
    """A segment as a function of its input and its variables, traced once."""

    def __init__(
        self,
        segment: keras.Model,
        variables: Sequence[keras.Variable],
        normalizations: AlikeNormalizations,
    ):
        self._segment = segment
        self._variables = variables
        self._normalizations = normalizations
        self.function = tf.function(self._forward, autograph=False)

    def _forward(self, inputs, others, training):
        layers = self._segment.layers
        with (
            standing_for(self._variables, others),
            factors_together(layers),
            self._normalizations.called(layers),
        ):
            return self._segment(inputs, training=training)


class _Called:
    """A segment by the function of those it is like, with variables of its own."""

    def __init__(self, alike: _Alike, variables: Sequence[keras.Variable]):
        self._alike = alike
        self._variables = variables

    def __call__(self, inputs, training):
        return self._alike.function(inputs, on_replica(self._variables), training)


def segments_of(model: keras.Model) -> list[keras.Model]:
    """Models between neighbouring cuts, over the model's own layers.

    A cut is a tensor that every way from the input to the output passes, where ways have joined or
    where they part: the tensors between the blocks of a DSO network, of a ResNet or a MobileNet.

    Args:
        model: A functional model with one input and one output.
    """
    tensors = [model.inputs[0], *_cut_tensors(model), model.outputs[0]]
    return [
        keras.Model(start, end, name=f"segment_{index}")
        for index, (start, end) in enumerate(itertools.pairwise(tensors))
    ]


def _cut_tensors(model: keras.Model) -> list[keras.KerasTensor]:
    """What every way passes, of two inputs or more or with two readers or more; in order."""
    graph = read(model)
    last_reader = {}
    for position, node in enumerate(graph.nodes):
        for value in (*node.inputs, *node.masks):
            last_reader[value] = position
    own = {layer.name: layer for layer in model.layers}
    open_values = set(graph.inputs)
    cuts = []
    for position, node in enumerate(graph.nodes):
        open_values = {value for value in open_values if last_reader.get(value, -1) > position}
        open_values.update(value for value in node.outputs if value in last_reader)
        masked = any(value.masked for value in open_values)
        layer = own.get(node.operation_name)
        alone = len(open_values) == 1 and not masked
        cut = alone and (len(node.inputs) > 1 or any(len(each.readers) > 1 for each in open_values))
        if cut and layer is not None and layer is node.operation:
            cuts.append(layer.output)
    return [tensor for tensor in cuts if tensor is not model.outputs[0]]


def description(segment: keras.Model) -> tuple[str, list[keras.Variable]] | None:
    """What alike segments have in common, and the variables in order; None if it cannot be said."""
    graph = read(segment)
    if not all(_is_known(node.operation) for node in graph.nodes):
        return None
    layers = {id(node.operation): node.operation for node in graph.nodes}
    numbers = {key: number for number, key in enumerate(layers)}
    variables = {id(v): v for layer in layers.values() for v in layer.variables}
    order = {key: number for number, key in enumerate(variables)}
    parts: list[Any] = [
        [configuration(layer), [(order[id(v)], v.shape, v.dtype) for v in layer.variables]]
        for layer in layers.values()
    ]
    parts += _connections(graph, numbers)
    return repr(parts), list(variables.values())


def _connections(graph: Graph, numbers: dict[int, int]) -> list[Any]:
    places = {value: number for number, value in enumerate(graph.values)}

    def told(struct):
        return map_values(lambda value: f"value {places[value]}", struct)

    return [
        [(value.shape, value.dtype) for value in graph.values],
        [
            (numbers[id(node.operation)], told((node.args, node.kwargs)), told(node.outputs))
            for node in graph.nodes
        ],
        told(graph.output_struct),
    ]


def _is_known(operation: Any) -> bool:
    """Whether a layer's configuration and variables tell all that it does."""
    return (
        isinstance(operation, keras.layers.Layer)
        and type(operation).__module__.startswith(("keras.", "keras_nas."))
        and not isinstance(operation, keras.layers.Lambda)
        and len(operation._flatten_layers()) == 1
        and getattr(operation, "activity_regularizer", None) is None
        and not getattr(operation, "synchronized", False)
    )
