"""Costs of layers that run another layer: that layer's own, at the shapes that it sees."""

from __future__ import annotations

import math

from keras import layers

from keras_nas.costs.formulas import Call, Counts, Shape, find, for_layers


@for_layers(layers.SpectralNormalization)
def spectral_normalization(call: Call) -> Counts | None:
    """At inference the wrapped layer is all that runs; one vector of its outputs is kept beside."""
    inner = call.operation.layer
    counts = _inner(inner, call.inputs[0], call.outputs[0])
    if counts is None:
        return None
    kernel = getattr(inner, "kernel", getattr(inner, "embeddings", None))
    return counts._replace(state=counts.state + (0 if kernel is None else kernel.shape[-1]))


@for_layers(layers.TimeDistributed)
def time_distributed(call: Call) -> Counts | None:
    """The wrapped layer runs on batch × time samples."""
    first, last = call.inputs[0], call.outputs[0]
    if len(call.inputs) != 1 or len(call.outputs) != 1:
        return None
    return _inner(call.operation.layer, _folded(first), _folded(last))


def _folded(shape: Shape) -> Shape:
    return (math.prod(shape[:2]), *shape[2:])


def _inner(layer, inputs: Shape, outputs: Shape) -> Counts | None:
    formula = find(layer)
    return None if formula is None else formula(Call(layer, [inputs], [outputs]))
