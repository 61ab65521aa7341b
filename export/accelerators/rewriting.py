"""A Keras model written anew with operations that the GPU delegate's documented list has.

What is written computes the same: `rewrites.py` holds the forms. Only what the list (or one of its
conditions) refuses is touched, so a model that fits stays as it is.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Any

import keras

from export.accelerators.rewrites import ACTIVATIONS, REWRITES
from export.accelerators.shuffles import find_shuffles, shuffled
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
    shuffles = find_shuffles(graph)
    counts: collections.Counter[str] = collections.Counter()

    def instead(node: Node, builder: GraphBuilder) -> Sequence[Any] | None:
        if node in shuffles:
            shuffle = shuffles[node]
            counts["channel shuffle"] += 1
            return [shuffled(builder.tensors[shuffle.source], shuffle.order, node.name)]
        if len(node.inputs) != 1 or len(node.outputs) != 1 or node.masks or node.outputs[0].masked:
            return None
        rewrite = REWRITES.get(kind(node.operation))
        x = builder.tensors[node.inputs[0]]
        written = rewrite(node.operation, x, node.name) if rewrite else None
        if written is not None:
            counts[kind(node.operation).removeprefix("ops.")] += 1
            return [written]
        return _with_plain_activation(node, builder, counts)

    rewritten = copy_graph(graph, lambda node, tensors: tensors, model.name, instead)
    return (rewritten, dict(counts)) if counts else (model, {})


def _with_plain_activation(
    node: Node, builder: GraphBuilder, counts: collections.Counter[str]
) -> Sequence[Any] | None:
    """A layer without its activation, and the activation's other form behind it."""
    if kind(node.operation) not in ACTIVATED:
        return None
    name = activation_name(node.operation.activation)
    if name not in ACTIVATIONS:
        return None
    counts[name] += 1
    if kind(node.operation) == "Activation":
        return [ACTIVATIONS[name](builder.tensors[node.inputs[0]], node.name)]
    args, kwargs = builder.arguments(node)
    changes = {"activation": "linear"}
    _, x = call_copy(node.operation, f"{node.name}_linear", args, kwargs, changes)
    return [ACTIVATIONS[name](x, node.name)]
