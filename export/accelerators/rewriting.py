"""A Keras model written anew with operations that an accelerator has.

What is written computes the same: `rewrites.py` holds the forms. Only what the GPU delegate's
documented list (or one of its conditions) refuses is touched, or what XNNPACK has no integer kernel
for, so a model that fits stays as it is.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from export.accelerators.rewrites import ACTIVATIONS, REWRITES, XNNPACK_REWRITES, Rewrite
from export.accelerators.shuffles import Shuffle, find_shuffles, shuffled
from keras_nas import graph as graph_
from keras_nas.graph.copy import GraphBuilder, call_copy, copy_graph
from keras_nas.graph.ir import Node
from keras_nas.graph.kinds import ALL_CONVOLUTIONS, activation_name, kind

ACTIVATED = ALL_CONVOLUTIONS | {"Activation", "Dense"}
"""Layers that end with their activation."""


def rewrite_for_gpu(
    model: keras.Model, input_shapes: Any = None
) -> tuple[keras.Model, dict[str, int]]:
    """Returns a model that computes the same with operations of the documented list.

    Example:
        rewritten, counts = rewrite_for_gpu(keras.models.load_model("small.keras"))
        counts  # {"GlobalAveragePooling2D": 1, "hard_silu": 12}

    Args:
        model: A functional or Sequential model; it is untouched.
        input_shapes: Where it leaves sizes open, its inputs' shapes: global pooling can be
            rewritten for fixed sizes only.

    Returns:
        The new model, or `model` itself where nothing is to be rewritten; and how often each
        operation or activation was.

    Raises:
        KerasNasError: The model is subclassed or not built.
    """
    graph = graph_.read(model, input_shapes)
    return _rewritten(model, graph, REWRITES, ACTIVATIONS, find_shuffles(graph))


def rewrite_for_xnnpack(
    model: keras.Model, input_shapes: Any = None
) -> tuple[keras.Model, dict[str, int]]:
    """Returns a model that computes the same with operations that XNNPACK has in int8.

    Args, Returns, Raises: As in `rewrite_for_gpu`.
    """
    return _rewritten(model, graph_.read(model, input_shapes), XNNPACK_REWRITES, {}, {})


def _rewritten(
    model: keras.Model,
    graph: graph_.Graph,
    rewrites: Mapping[str, Rewrite],
    activations: Mapping[str, Callable[[Any, str], Any]],
    shuffles: Mapping[Node, Shuffle],
) -> tuple[keras.Model, dict[str, int]]:
    counts: collections.Counter[str] = collections.Counter()

    def instead(node: Node, builder: GraphBuilder) -> Sequence[Any] | None:
        if node in shuffles:
            shuffle = shuffles[node]
            counts["channel shuffle"] += 1
            return [shuffled(builder.tensors[shuffle.source], shuffle.order, node.name)]
        if len(node.inputs) != 1 or len(node.outputs) != 1 or node.masks or node.outputs[0].masked:
            return None
        rewrite = rewrites.get(kind(node.operation))
        x = builder.tensors[node.inputs[0]]
        written = rewrite(node.operation, x, node.name) if rewrite else None
        if written is not None:
            counts[kind(node.operation).removeprefix("ops.")] += 1
            return [written]
        return _with_plain_activation(node, builder, activations, counts)

    rewritten = copy_graph(graph, lambda node, tensors: tensors, model.name, instead)
    return (rewritten, dict(counts)) if counts else (model, {})


def _with_plain_activation(
    node: Node,
    builder: GraphBuilder,
    activations: Mapping[str, Callable[[Any, str], Any]],
    counts: collections.Counter[str],
) -> Sequence[Any] | None:
    """A layer without its activation, and the activation's other form behind it."""
    if kind(node.operation) not in ACTIVATED:
        return None
    name = activation_name(node.operation.activation)
    if name not in activations:
        return None
    counts[name] += 1
    if kind(node.operation) == "Activation":
        return [activations[name](builder.tensors[node.inputs[0]], node.name)]
    args, kwargs = builder.arguments(node)
    changes = {"activation": "linear"}
    _, x = call_copy(node.operation, f"{node.name}_linear", args, kwargs, changes)
    return [activations[name](x, node.name)]
