"""A convolution with what follows it: the part of a network that becomes a mixed layer."""

from __future__ import annotations

import dataclasses

from keras_nas.gates.places import activation_behind, follower
from keras_nas.graph import Graph, Node, Value, kinds
from keras_nas.graph import activations as known
from keras_nas.graph.kinds import activation_name, kind


@dataclasses.dataclass(frozen=True)
class Segment:
    """A convolution with the normalisation and the activation that alone read it."""

    convolution: Node
    normalization: Node | None
    activation: Node | None

    @property
    def nodes(self) -> list[Node]:
        found = (self.convolution, self.normalization, self.activation)
        return [node for node in found if node is not None]

    @property
    def output(self) -> Value:
        return self.nodes[-1].outputs[0]


def segment_of(graph: Graph, layer_name: str) -> Segment:
    """The segment that begins with a convolution; one that is called more than once stands alone.

    A normalisation or activation that others read too, or that is the model's output, is no part.
    """
    node = graph.calls()[layer_name][0]
    outputs = set(graph.outputs)
    if len(graph.calls()[layer_name]) > 1:
        return Segment(node, None, None)
    last, normalization = node, None
    if last.outputs[0] not in outputs:
        normalization = follower(node, {"BatchNormalization"})
        last = normalization or node
    activation = None
    if last.outputs[0] not in outputs:
        activation = activation_behind(last)
    return Segment(node, normalization, activation)


def activation_of(segment: Segment) -> str | None:
    """The name of the original activation: one of `ACTIVATIONS`, another's, or None.

    That of a function which is not Keras' own is "activation".
    """
    node = segment.activation
    if node is None:
        layer = segment.convolution.operation
        own = has_own_activation(layer)
        return (activation_name(layer.activation) or "activation") if own else None
    name = kind(node.operation)
    if name == "Activation":
        return activation_name(node.operation.activation) or "activation"
    if name == "ReLU":
        plain = node.operation.max_value is None and not node.operation.negative_slope
        return "relu" if plain and not node.operation.threshold else "clipped_relu"
    return name.removeprefix("ops.").lower()


def is_homogeneous(segment: Segment) -> bool:
    """Whether the operation's output scales with its (normalised) convolution's weights."""
    name = activation_of(segment)
    if segment.normalization is not None and not segment.normalization.operation.scale:
        return False
    if segment.normalization is not None and has_own_activation(segment.convolution.operation):
        return False
    if name == "activation":
        last = segment.activation or segment.convolution
        rank = len(last.outputs[0].shape)
        return known.activation_of(last.operation.activation, rank).homogeneous
    return name is None or name in kinds.HOMOGENEOUS_ACTIVATIONS or name in ("prelu", "leakyrelu")


def has_own_activation(layer) -> bool:
    """Whether a layer applies an activation itself, other than the linear one."""
    activation = getattr(layer, "activation", None)
    return activation is not None and activation_name(activation) != "linear"
