"""Re-estimating the moving statistics of BatchNormalization on a few batches."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from itertools import islice
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_nas.errors import UsageError
from keras_nas.graph import Node, read
from keras_nas.graph.copy import GraphBuilder, copy_graph
from keras_nas.graph.ir import map_values
from keras_nas.graph.kinds import kind

logger = logging.getLogger(__name__)


LAG = 0.01
"""The share of what was there before that moving statistics may still hold after a training."""


def reestimate(
    model: keras.Model,
    data: Iterable[Any],
    batches: int | None = None,
    *,
    lagging_after: int | None = None,
) -> list[str]:
    """Gives every BatchNormalization the mean statistics of the batches, as the network is now.

    After surgery a network still remembers the moments of the large one. Here each layer that
    learns normalises by its batch, as in training, all else (Dropout too) is as in inference, and
    the moving mean and variance become the plain averages of the batches' means and variances, each
    batch weighed by its examples: not the momentum's, which after ten batches still holds most of
    what was there before. Weights are not touched.

    Layers stay as they are that do not learn (`trainable=False`), that are called with
    `training=False`, that renormalise, or whose momentum is 1. So do those that the model's graph
    does not show, inside a layer of the user's that is made of layers; the log names them.

    Example:

    ```python
    small = keras_nas.surgery.build(supernet, architecture)
    keras_nas.statistics.reestimate(small, train_data, batches=20)
    ```

    Args:
        model: A functional or Sequential model; its gates, if it has any, act in their modes.
        data: Batches `(inputs, …)`, or of inputs alone where these are one tensor.
        batches: How many are read; all by default.
        lagging_after: Steps of training since the statistics were last right. Only layers are
            re-estimated whose moving statistics still hold more than a hundredth of those: at a
            momentum of 0.999 (that of keras.applications' networks) after fewer than 4,600 steps,
            at 0.99 after fewer than 460. None for all layers.

    Returns:
        The names of the layers that were re-estimated, in graph order.

    Raises:
        UsageError: If `data` has no batch.
        KerasNasError: If the model cannot be read.
    """
    _name_hidden(model)
    wanted = _wanted(model, lagging_after)
    if not wanted:
        return []
    inputs, _, moments = _observed(model)
    observed = keras.Model(inputs, moments, name=f"{model.name}_observed")
    observe = tf.function(
        lambda inputs: observed(inputs, training=False), autograph=False, reduce_retracing=True
    )
    totals: dict[str, np.ndarray] = {}
    examples = 0
    for batch in islice(data, batches):
        inputs = batch[0] if isinstance(batch, (tuple, list)) else batch
        inputs = tf.nest.map_structure(tf.convert_to_tensor, inputs)
        count = int(tf.shape(tf.nest.flatten(inputs)[0])[0])
        found = observe(inputs)
        for name in wanted:
            mean = np.mean([np.asarray(moments, "float64") for moments in found[name]], axis=0)
            totals[name] = totals.get(name, 0.0) + count * mean
        examples += count
    if not examples:
        raise UsageError("`data` must have a batch or more to estimate statistics on. Received: 0")
    for name, layer in wanted.items():
        mean, variance = totals[name] / examples
        layer.moving_mean.assign(mean)
        layer.moving_variance.assign(variance)
    return list(wanted)


def by_batch(model: keras.Model) -> keras.Model:
    """A copy that normalises by each batch, as `reestimate` does, and is else as in inference.

    So it computes at once what the network would after its statistics were re-estimated on the
    batch. It has the model's weights, in variables of its own.

    Raises:
        KerasNasError: If the model cannot be read.
    """
    inputs, outputs, _ = _observed(model)
    return keras.Model(inputs, outputs, name=f"{model.name}_by_batch")


def _wanted(model: keras.Model, lagging_after: int | None) -> dict[str, Any]:
    """The layers to re-estimate by name, in graph order; see `reestimate`."""
    return {
        node.operation_name: node.operation
        for node in read(model).nodes
        if _is_observed(node)
        and (lagging_after is None or node.operation.momentum**lagging_after > LAG)
    }


class _Observer(keras.layers.Layer):
    """Runs a BatchNormalization by its batch, leaves its variables alone, and tells the moments.

    Returns:
        What the layer returns, and `(2, channels)`: the batch's mean and variance.
    """

    def __init__(self, layer: keras.layers.BatchNormalization, **kwargs):
        super().__init__(dtype=layer.dtype_policy, **kwargs)
        self.layer = layer
        self.supports_masking = True

    def compute_mask(self, inputs, previous_mask):
        return previous_mask, None

    def call(self, inputs, mask=None):
        layer = self.layer
        moving = [layer.moving_mean, layer.moving_variance]
        zeros = [(variable, tf.zeros(variable.shape, variable.dtype)) for variable in moving]
        with keras.StatelessScope(zeros) as scope:
            outputs = layer(inputs, training=True, mask=mask)
        moved = [scope.get_current_value(variable) for variable in moving]
        return outputs, tf.stack(moved) / (1.0 - layer.momentum)

    def compute_output_spec(self, inputs, mask=None):
        variable = self.layer.moving_mean
        moments = keras.KerasTensor((2, *variable.shape), dtype=variable.dtype)
        return keras.KerasTensor(inputs.shape, dtype=self.compute_dtype), moments


def _observed(model: keras.Model) -> tuple[Any, Any, dict[str, list[keras.KerasTensor]]]:
    """The ends of a copy that normalises by the batch, and the moments of each normalisation.

    Returns:
        Inputs and outputs in the model's own structures; by the layer's name, the moments of its
        calls, each `(2, channels)`.
    """
    graph = read(copy_graph(read(model), lambda node, tensors: tensors, model.name))
    builder = GraphBuilder(graph)
    moments: dict[str, list[keras.KerasTensor]] = {}
    for node in graph.nodes:
        args, kwargs = builder.arguments(node)
        if _is_observed(node):
            observer = _Observer(node.operation, name=f"{node.name}_observed")
            kwargs.pop("training", None)
            normalised, found = observer(*args, **kwargs)
            results = [normalised]
            moments.setdefault(node.operation_name, []).append(found)
        else:
            results = keras.tree.flatten(node.operation(*args, **kwargs))
        builder.tensors.update(zip(node.outputs, results, strict=True))
    ends = (graph.input_struct, graph.output_struct)
    inputs, outputs = map_values(builder.tensors.__getitem__, ends)
    return inputs, outputs, moments


def _is_observed(node: Node) -> bool:
    layer = node.operation
    return (
        kind(layer) == "BatchNormalization"
        and layer.trainable
        and layer.momentum < 1
        and not layer.renorm
        and node.kwargs.get("training") is not False
    )


def _name_hidden(model: keras.Model) -> None:
    nodes = read(model).nodes
    shown = {id(node.operation) for node in nodes if kind(node.operation) == "BatchNormalization"}
    hidden = [
        layer.name
        for layer in model._flatten_layers(include_self=False)
        if isinstance(layer, keras.layers.BatchNormalization) and id(layer) not in shown
    ]
    if hidden:
        logger.warning(
            "the statistics of '%s' stay as they are in layers that its graph does not show: %s",
            model.name,
            ", ".join(hidden),
        )
