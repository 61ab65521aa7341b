"""Training a gated network without multiplying its activations by the gates."""

from __future__ import annotations

import keras

from keras_nas.graph import Graph, Node, Value, kinds, read
from keras_nas.graph.copy import GraphBuilder
from keras_nas.graph.kinds import kind
from keras_nas.graph.state import quantization
from keras_nas.layers import Gate

LINEAR = kinds.CONVOLUTIONS | kinds.DEPTHWISE_CONVOLUTIONS | {"Dense"}
CHANNEL_BY_CHANNEL = frozenset(
    "AveragePooling2D MaxPooling2D GlobalAveragePooling2D GlobalMaxPooling2D ZeroPadding2D "
    "Dropout SpatialDropout2D".split()
)


class FoldedGate(keras.layers.Layer):
    """A layer that multiplies by a gate's factors through its own weights.

    For a BatchNormalization that only the gate reads, g · (γ x̂ + β) is (gγ) x̂ + gβ. For a
    convolution or Dense layer behind the gate, K ∗ (g · x) is (K g) ∗ x, with g along the kernel's
    input channels. Either way a product with a small variable takes the place of one with the whole
    activation, and the gate's gradient is a sum over that variable's. Values and gradients are
    those of the two layers; the values to the last bit where factors are 0 and 1. Only where a
    closed gate stands before a max pooling the gradients differ: unfolded, the zeros tie and the
    first position's value counts; here the largest does, which is what opening the gate would give.

    The layer has no variables of its own, and moves statistics as `layer` does.

    Args:
        layer: A built BatchNormalization, convolution (of one group or depthwise) or Dense.
        gate: The built gate.

    Input shape:
        That of `layer`.

    Output shape:
        That of `layer`.
    """

    def __init__(self, layer: keras.layers.Layer, gate: Gate):
        super().__init__(name=f"{layer.name}_with_{gate.name}", dtype=layer.dtype_policy)
        self.layer = layer
        self.gate = gate
        self.supports_masking = layer.supports_masking

    def call(self, inputs, training=None, mask=None):
        scaled = self._scaled_weights()
        arguments = {"mask": mask} if kind(self.layer) == "BatchNormalization" else {}
        with keras.StatelessScope(scaled) as scope:
            outputs = self.layer(inputs, training=training, **arguments)
        own = {id(variable) for variable, _ in scaled}
        for variable in self.layer.variables:
            moved = scope.get_current_value(variable)
            if moved is not None and id(variable) not in own:
                variable.assign(moved)
        return outputs

    def _scaled_weights(self) -> list[tuple[keras.Variable, keras.KerasTensor]]:
        factors, layer = self.gate.factors(), self.layer
        if kind(layer) == "BatchNormalization":
            return [(layer.gamma, layer.gamma * factors), (layer.beta, layer.beta * factors)]
        kernel = next(weight for weight in layer.weights if weight.name == "kernel")
        return [(kernel, kernel * factors[:, None])]

    def compute_output_shape(self, input_shape):
        return self.layer.compute_output_shape(input_shape)


def fold_gates(supernet: keras.Model) -> keras.Model:
    """The same network over the same layers, without products of activations and gates.

    A gate is folded into the BatchNormalization in front of it, or into all the convolutions and
    Dense layers behind it, through poolings, paddings and dropout. Where neither can be (a join
    reads it, or a layer that is called twice), it stays as it is. The result is for training:
    everything else (masks, costs, surgery) reads `supernet`.

    Args:
        supernet: A functional model with gates.

    Returns:
        A `keras.Model` that shares all its layers with `supernet`; `supernet` itself if there is
        nothing to fold.
    """
    graph = read(supernet)
    gate_of: dict[Node, Gate] = {}
    folded = set()
    for node in graph.nodes:
        if isinstance(node.operation, Gate):
            places = _places(graph, node)
            folded.update([node] if places else [])
            gate_of.update(dict.fromkeys(places, node.operation))
    return _rebuilt(graph, gate_of, folded) if folded else supernet


def _rebuilt(graph: Graph, gate_of: dict[Node, Gate], folded: set[Node]) -> keras.Model:
    builder = GraphBuilder(graph)
    for node in graph.nodes:
        if node in folded:
            builder.tensors[node.outputs[0]] = builder.tensors[node.inputs[0]]
            continue
        args, kwargs = builder.arguments(node)
        operation = node.operation
        if node in gate_of:
            operation = FoldedGate(operation, gate_of[node])
        results = keras.tree.flatten(operation(*args, **kwargs))
        builder.tensors.update(zip(node.outputs, results, strict=True))
    return builder.finish(graph.name)


def _places(graph: Graph, gate: Node) -> list[Node]:
    """The calls whose weights can take the gate's factors; none if the gate must stay."""
    calls, norm = graph.calls(), gate.inputs[0].producer
    if norm is not None and _is_scaled_norm(norm) and norm.outputs[0].readers == [gate]:
        found = [] if norm.outputs[0] in graph.outputs else [norm]
    else:
        found = _linear_readers(gate.outputs[0], set(graph.outputs)) or []
    alone = all(len(calls[node.operation_name]) == 1 for node in [gate, *found])
    return found if alone else []


def _is_scaled_norm(node: Node) -> bool:
    norm = node.operation
    if kind(norm) != "BatchNormalization" or not (norm.scale and norm.center):
        return False
    return norm.axis in (-1, len(node.outputs[0].shape) - 1)


def _linear_readers(value: Value, outputs: set[Value]) -> list[Node] | None:
    """Every layer that reads the value, if each of them multiplies its channels by a kernel."""
    if value in outputs or not value.readers:
        return None
    found: list[Node] = []
    for node in value.readers:
        if _has_plain_kernel(node.operation):
            found.append(node)
            continue
        further = _linear_readers(node.outputs[0], outputs) if _passes(node) else None
        if further is None:
            return None
        found += further
    return found


def _has_plain_kernel(layer) -> bool:
    """Whether a layer multiplies all its channels by a kernel that is a variable of its own."""
    changed = getattr(layer, "lora_enabled", False) or quantization(layer)
    return kind(layer) in LINEAR and getattr(layer, "groups", 1) == 1 and not changed


def _passes(node: Node) -> bool:
    """Whether the node's output scales channel by channel with its input."""
    if kind(node.operation) == "Flatten":
        return all(size == 1 for size in node.inputs[0].shape[1:-1])
    return kind(node.operation) in CHANNEL_BY_CHANNEL
