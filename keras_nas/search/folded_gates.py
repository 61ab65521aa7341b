"""Training a gated network without multiplying its activations by the gates."""

from __future__ import annotations

import keras

from keras_nas.graph import Graph, Node, read
from keras_nas.graph.copy import GraphBuilder
from keras_nas.layers import Gate


class NormThenGate(keras.layers.Layer):
    """A BatchNormalization and the gate that alone reads it, as one affine map.

    g · (γ x̂ + β) is computed as (gγ) x̂ + gβ: a product of two vectors in place of one over the
    whole activation, and the gate's gradient comes out of those of γ and β, which the layer has
    anyway. The values are those of the two layers; for gates of 0 and 1 to the last bit.

    The layer has no variables of its own and moves the statistics of `norm` as `norm` does.

    Args:
        norm: A built BatchNormalization over the last axis, with scale and offset.
        gate: The built gate.

    Input shape:
        `(batch, ..., channels)`.

    Output shape:
        The input's.
    """

    def __init__(self, norm: keras.layers.BatchNormalization, gate: Gate):
        super().__init__(name=f"{norm.name}_and_{gate.name}", dtype=norm.dtype_policy)
        self.norm = norm
        self.gate = gate

    def call(self, inputs, training=None, mask=None):
        factors = self.gate.factors()
        scaled = [(part, part * factors) for part in (self.norm.gamma, self.norm.beta)]
        with keras.StatelessScope(scaled) as scope:
            outputs = self.norm(inputs, training=training, mask=mask)
        for variable in self.norm.non_trainable_variables:
            moved = scope.get_current_value(variable)
            if moved is not None:
                variable.assign(moved)
        return outputs

    def compute_output_shape(self, input_shape):
        return input_shape


def fold_gates(supernet: keras.Model) -> keras.Model:
    """The same network over the same layers, its gates folded into BatchNormalization.

    A gate is folded where it alone reads a BatchNormalization; another stays as it is. The result
    is for training: everything else (masks, costs, surgery) reads `supernet`.

    Args:
        supernet: A functional model with gates.

    Returns:
        A `keras.Model` that shares all its layers with `supernet`; `supernet` itself if there is
        nothing to fold.
    """
    graph = read(supernet)
    gate_after = _pairs(graph)
    return _rebuilt(graph, gate_after) if gate_after else supernet


def _pairs(graph: Graph) -> dict[Node, Node]:
    """The gate's call by the normalisation's, where one can be folded into the other."""
    calls, outputs = graph.calls(), set(graph.outputs)
    pairs = {}
    for norm in graph.nodes:
        value = norm.outputs[0]
        if _can_scale(norm) and value not in outputs and len(value.readers) == 1:
            gate = value.readers[0]
            alone = all(len(calls[node.operation_name]) == 1 for node in (norm, gate))
            if isinstance(gate.operation, Gate) and alone:
                pairs[norm] = gate
    return pairs


def _can_scale(node: Node) -> bool:
    norm = node.operation
    if type(norm) is not keras.layers.BatchNormalization or not (norm.scale and norm.center):
        return False
    return norm.axis in (-1, len(node.outputs[0].shape) - 1)


def _rebuilt(graph: Graph, gate_after: dict[Node, Node]) -> keras.Model:
    builder = GraphBuilder(graph)
    norm_of = {gate: norm for norm, gate in gate_after.items()}
    for node in graph.nodes:
        if node in norm_of:
            builder.tensors[node.outputs[0]] = builder.tensors[norm_of[node].outputs[0]]
            continue
        args, kwargs = builder.arguments(node)
        operation = node.operation
        if node in gate_after:
            operation = NormThenGate(node.operation, gate_after[node].operation)
        results = keras.tree.flatten(operation(*args, **kwargs))
        builder.tensors.update(zip(node.outputs, results, strict=True))
    return builder.finish(graph.name)
