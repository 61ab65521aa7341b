"""Moving gates' factors into the weights of the operations around them, where that is exact."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from keras_nas.graph import Graph, Node, Value, kinds
from keras_nas.graph.kinds import activation_name, kind
from keras_nas.layers import Gate
from keras_nas.surgery.rules import family
from keras_nas.surgery.rules.convolution import DenseLike
from keras_nas.surgery.rules.depthwise import DepthwiseConvolution
from keras_nas.surgery.rules.elementwise import (
    Elementwise,
    Identity,
    PReLU,
    is_homogeneous,
    keeps_zero,
)
from keras_nas.surgery.rules.normalization import BatchNormalization
from keras_nas.surgery.rules.spatial import Spatial


@dataclass(eq=False)
class Attachment:
    """Who takes over the gates' factors, each an array with one number a channel.

    Attributes:
        after: By the node whose output they multiply: they go into its weights by output channel.
        before: By the node whose input they multiply: they go into its weights by input channel.
        left: By the gate's own node: what it is left to do.
    """

    after: dict[Node, np.ndarray] = field(default_factory=dict)
    before: dict[Node, np.ndarray] = field(default_factory=dict)
    left: dict[Node, np.ndarray] = field(default_factory=dict)


def attach(graph: Graph, scales: dict[str, np.ndarray], refused: set[Node]) -> Attachment:
    """Finds, for each gate, whether an operation before or after it can take over its factors.

    One before can when it has weights by output channel, is called once, and everything between the
    two is read by nobody else and commutes with the factors: ReLU and pooling do with zeros and
    ones, and with any positive scale; tanh with zeros and ones only; sigmoid with neither. Where
    none can, scales other than zero and one go into the operations that read the gate, if each is
    a convolution or Dense layer called once; zeros stay with the gate, as constants.

    Args:
        graph: The gated graph.
        scales: What each gate multiplies its channels by, by the gate's operation name.
        refused: Nodes that must not take anything over.

    Returns:
        The `Attachment`.
    """
    found = Attachment()
    outputs = set(graph.outputs)
    calls = graph.calls()
    for node in graph.nodes:
        if not isinstance(node.operation, Gate):
            continue
        width = int(node.outputs[0].shape[-1] or 1)
        scale = np.broadcast_to(np.asarray(scales[node.operation_name], "float64"), (width,))
        taker = _taker(node, scale, outputs, calls)
        found.left[node] = np.ones_like(scale)
        if taker is not None and taker not in refused:
            found.after[taker] = found.after.get(taker, 1.0) * scale
        elif _readers_take(node, scale, outputs, calls, refused):
            found.left[node] = (scale != 0).astype("float64")
            for reader in node.outputs[0].readers:
                found.before[reader] = np.where(scale != 0, scale, 1.0)
        else:
            found.left[node] = scale
    return found


def _readers_take(gate: Node, scale: np.ndarray, outputs: set[Value], calls, refused) -> bool:
    value = gate.outputs[0]
    return (
        not np.isin(scale, (0.0, 1.0)).all()
        and value not in outputs
        and bool(value.readers)
        and all(
            isinstance(rule := family(reader.operation), DenseLike)
            and rule.scales_inputs
            and len(calls[reader.operation_name]) == 1
            and reader not in refused
            for reader in value.readers
        )
    )


def _taker(gate: Node, scale: np.ndarray, outputs: set[Value], calls) -> Node | None:
    binary = bool(np.isin(scale, (0.0, 1.0)).all())
    reader, value = gate, gate.inputs[0]
    while value.readers == [reader] and value not in outputs and value.producer is not None:
        node = value.producer
        if value.shape[-1] != len(scale):
            return None
        if _holds_factors(node, binary) and len(calls[node.operation_name]) == 1:
            return node
        if not _commutes(node, binary):
            return None
        reader, value = node, node.inputs[0]
    return None


def _holds_factors(node: Node, binary: bool) -> bool:
    rule = family(node.operation)
    if isinstance(rule, BatchNormalization):
        return not node.kwargs.get("training")
    if not isinstance(rule, (DenseLike, DepthwiseConvolution)):
        return False
    name = activation_name(node.operation.activation)
    if name in kinds.HOMOGENEOUS_ACTIVATIONS:
        return True
    zero_at_zero = name in kinds.ELEMENTWISE_ACTIVATIONS - kinds.NON_ZERO_AT_ZERO
    return binary and zero_at_zero


def _commutes(node: Node, binary: bool) -> bool:
    rule = family(node.operation)
    if len(node.inputs) != 1:
        return False
    if isinstance(rule, (Identity, Spatial, PReLU)):
        return True
    if isinstance(rule, Elementwise):
        if kind(node.operation) == "Activation" and (
            activation_name(node.operation.activation) not in kinds.ELEMENTWISE_ACTIVATIONS
        ):
            return False
        return is_homogeneous(node) or (binary and keeps_zero(node))
    return False
