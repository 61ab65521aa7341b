"""Counting what a functional model costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras

from keras_nas.costs.costs import Costs, LayerCosts
from keras_nas.costs.layer_costs import layer_costs
from keras_nas.costs.peak_memory import peak_activation_memory
from keras_nas.errors import UsageError
from keras_nas.graph import Graph, read
from keras_nas.layers import Gate

Shape = Sequence[int | None]


def count(
    model: keras.Model, input_shapes: Shape | Sequence[Shape] | Mapping[str, Shape] | None = None
) -> Costs:
    """Counts macs, params and memory of a functional or Sequential model at batch 1.

    Nested models are looked into, and so are layers of the user's that are made of Keras layers.
    Gates cost nothing. What cannot be counted is named in `Costs.uncounted`.

    Example:

    ```python
    print(keras_nas.costs.count(keras.applications.MobileNetV2(weights=None)))
    keras_nas.costs.count(keras_nas.models.edsr(), input_shapes=(360, 640, 3)).flops
    ```

    Args:
        model: The model. One that was built for a fixed batch is counted for that batch.
        input_shapes: Sizes of the inputs, without the batch axis, needed where the model leaves
            them open: a shape, a list with a shape for each input, or a dict by input name.

    Returns:
        `Costs`.

    Raises:
        KerasNasError: If the model is subclassed, sizes of an input are open, or `input_shapes`
            does not fit.
    """
    return count_graph(graph_of(model, input_shapes))


def graph_of(
    model: keras.Model, input_shapes: Shape | Sequence[Shape] | Mapping[str, Shape] | None = None
) -> Graph:
    """The graph that a model is counted by; arguments and errors as of `count`."""
    own = [tuple(tensor.shape) for tensor in _inputs(model)]
    given = _given_shapes(model, input_shapes)
    shapes = [
        _closed(tensor.name, model.name, shape, given.get(tensor.name))
        for tensor, shape in zip(_inputs(model), own, strict=True)
    ]
    return read(model, shapes or None, open_composites=True)


def count_graph(graph: Graph) -> Costs:
    """Counts a graph that was read with known shapes; else as `count`."""
    by_layer: dict[str, LayerCosts] = {}
    seen: set[str] = set()
    for node in graph.nodes:
        if isinstance(node.operation, Gate):
            continue
        costs = layer_costs(
            node.operation,
            [value.shape for value in node.inputs],
            [value.shape for value in node.outputs],
            input_dtypes=[value.dtype for value in node.inputs],
            output_dtypes=[value.dtype for value in node.outputs],
        )
        if node.operation_name in seen:
            costs = replace(costs, params=0, state=0)
        seen.add(node.operation_name)
        by_layer[node.name] = costs
    return Costs.from_layers(by_layer, peak_activation_memory(graph))


def _inputs(model: Any) -> list[keras.KerasTensor]:
    """The model's input tensors; none where it has no graph, which `read` then refuses."""
    try:
        return list(model.inputs or ())
    except (AttributeError, ValueError):
        return []


def _given_shapes(model, input_shapes) -> dict[str, tuple[int | None, ...]]:
    names = [tensor.name for tensor in _inputs(model)]
    if input_shapes is None:
        return {}
    if isinstance(input_shapes, Mapping):
        unknown = sorted(set(input_shapes) - set(names))
        if unknown:
            raise UsageError(
                f"`input_shapes` must name inputs of model '{model.name}', {names}. "
                f"Received: {unknown}"
            )
        return {name: tuple(shape) for name, shape in input_shapes.items()}
    if not input_shapes or not isinstance(input_shapes[0], (tuple, list)):
        input_shapes = [input_shapes]
    if len(input_shapes) != len(names):
        raise UsageError(
            f"`input_shapes` must have a shape for each input of model '{model.name}', {names}. "
            f"Received: {input_shapes}"
        )
    return {name: tuple(shape) for name, shape in zip(names, input_shapes, strict=True)}


def _closed(input_name, model_name, own, given) -> tuple[int | None, ...]:
    batch = 1 if own[0] is None else own[0]
    wanted = own[1:] if given is None else given
    fits = len(wanted) == len(own) - 1 and all(
        mine is None or mine == other for mine, other in zip(own[1:], wanted, strict=True)
    )
    if not fits:
        raise UsageError(
            f"`input_shapes` must fit {own[1:]} (without the batch axis) for input '{input_name}' "
            f"of model '{model_name}'. Received: {given}"
        )
    if None in wanted:
        raise UsageError(
            f"`input_shapes` must give the sizes that input '{input_name}' of model '{model_name}' "
            f"leaves open, for instance (224, 224, 3). Received: {wanted}"
        )
    return (batch, *wanted)
