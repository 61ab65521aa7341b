"""How many channels each layer reads and writes, as FGNAS' regularizer differentiates them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_nas.graph import Graph, Node, Value
from keras_nas.graph.kinds import kind
from keras_nas.layers import Gate
from keras_nas.surgery.analysis import Plan
from keras_nas.surgery.rules.base import SameChannels
from keras_nas.surgery.rules.convolution import DenseLike
from keras_nas.surgery.rules.depthwise import DepthwiseConvolution
from keras_nas.surgery.rules.gate import GateRule
from keras_nas.surgery.rules.merge import PRODUCTS, Concatenate, Merge
from keras_nas.surgery.rules.padding import Pad
from keras_nas.surgery.rules.pixel_shuffle import DepthToSpace
from keras_nas.surgery.rules.reindex import Reindex

_CARRIERS = (SameChannels, DepthwiseConvolution, Merge, Concatenate, Pad, DepthToSpace)

Vector = Any
"""float32 `(channels,)`: NumPy ones where nothing is gated, else a tensor."""


def binary(total: tf.Tensor) -> tf.Tensor:
    """h of Eq. (10): 1 where not 0, with the gradient of the identity."""
    return total + tf.stop_gradient(tf.cast(total != 0, total.dtype) - total)


class RelaxedCounts:
    """γ_in and γ_out of Eq. (9) and (10) for any functional graph.

    A channel is *alive* (a) as far as the gates before it are open: 1 behind a convolution, G
    behind a gate, h(Σ a) behind a sum (a skip connection), side by side behind a concatenation,
    unchanged behind what works on each channel alone. It is *asked for* (d) as far as the gates
    behind it are open: 1 before a convolution, G · d before a gate, h(Σ d) over several readers. A
    convolution reads γ_in = ‖a‖₁ channels of its input and writes γ_out = ‖d‖₁ of its output, which
    are the paper's Eq. (10) and (9); a layer on each channel alone has ‖a · d‖₁.

    Worked example: conv1 → gate1 → conv2 → gate2 → conv3 with gate1 = (1, 0), gate2 = (1, 1):
    conv2 has γ_in = 1 and γ_out = 2.

    Args:
        plan: The analysis of the gated graph with every gate open.
        nodes: The nodes to count.
    """

    def __init__(self, plan: Plan, nodes: Sequence[Node]):
        self.plan = plan
        self.graph: Graph = plan.graph
        self.nodes = list(nodes)

    def __call__(
        self, factors: Mapping[str, tf.Tensor], h: Callable[[tf.Tensor], tf.Tensor] = binary
    ) -> dict[Node, tuple[tf.Tensor, tf.Tensor]]:
        """γ_in and γ_out of each counted node, float64 scalars.

        Args:
            factors: G by the gate's name in the graph, float32 `(channels,)`.
            h: h of Eq. (10).
        """
        alive = self._forward(factors, h)
        asked = self._backward(factors, h)
        return {node: self._count(node, alive, asked) for node in self.nodes}

    def _count(self, node, alive, asked):
        source, target = node.inputs[0], node.outputs[0]
        written = _total(_times(alive[target], asked[target]))
        if isinstance(self.plan.rules[node], DenseLike):
            return _total(alive[source]), written
        return written * self._width(source) / self._width(target), written

    def _width(self, value: Value) -> float:
        channels = self.plan.channels[value]
        return float(channels.count if channels is not None else 1)

    def _ones(self, value: Value) -> Vector:
        return np.ones(int(self._width(value)), "float32")

    def _forward(self, factors, h) -> dict[Value, Vector]:
        alive: dict[Value, Vector] = {value: self._ones(value) for value in self.graph.inputs}
        for node in self.graph.nodes:
            given = [alive[value] for value in node.inputs]
            alive.update((value, self._ones(value)) for value in node.outputs)
            rule = self.plan.rules[node]
            if isinstance(rule, Reindex):
                move = rule.move(self.plan.calls[node])
                for value, target in zip(node.outputs, move.targets, strict=True):
                    alive[value] = _gather(given[0], target.origin)
            elif self._carries(node):
                alive[node.outputs[0]] = self._behind(node, given, factors, h)
        return alive

    def _carries(self, node: Node) -> bool:
        """Whether the output's channels are the input's, one by one."""
        rule = self.plan.rules[node]
        if isinstance(rule, GateRule):
            return rule._follows(self.plan.calls[node])
        return isinstance(rule, _CARRIERS)

    def _behind(self, node, given, factors, h) -> Vector:
        rule, call = self.plan.rules[node], self.plan.calls[node]
        if isinstance(node.operation, Gate):
            return _times(given[0], factors[node.operation_name])
        if isinstance(rule, DepthwiseConvolution):
            return _repeat(given[0], node.operation.depth_multiplier)
        if isinstance(rule, Concatenate) and rule._along_channels(call):
            parts = [
                np.ones(len(part), "float32") if part.dtype == "float64" else part
                for part in rule.columns(call, given)
            ]
            return parts[0] if len(parts) == 1 else _concat(parts)
        if isinstance(rule, (Merge, Concatenate)):
            width = int(self._width(node.outputs[0]))
            given = [_broadcast(vector, width) for vector in given]
            if kind(node.operation) in PRODUCTS:
                result = given[0]
                for vector in given[1:]:
                    result = _times(result, vector)
                return result
            return _union(given, h)
        if isinstance(rule, Pad):
            before, after = (np.zeros(width, "float32") for width in rule._beside(call))
            return _concat([before, given[0], after])
        if isinstance(rule, DepthToSpace):
            width = int(self._width(node.outputs[0]))
            return _union([given[0][start : start + width] for start in _starts(node, width)], h)
        return given[0]

    def _backward(self, factors, h) -> dict[Value, Vector]:
        demands: dict[Value, list[Vector]] = {value: [] for value in self.graph.values}
        asked: dict[Value, Vector] = {}
        for value in self.graph.outputs:
            demands[value].append(self._ones(value))
        for node in reversed(self.graph.nodes):
            for value in node.outputs:
                asked[value] = self._joined(value, demands[value], h)
            parts = [self._ones(value) for value in node.inputs]
            rule = self.plan.rules[node]
            if isinstance(rule, Reindex):
                move = rule.move(self.plan.calls[node])
                parts = [_moved_back(move, [asked[value] for value in node.outputs], h)]
            elif self._carries(node):
                parts = self._before(node, asked[node.outputs[0]], factors, h)
            for value, part in zip(node.inputs, parts, strict=True):
                demands[value].append(part)
        return asked

    def _joined(self, value, parts, h) -> Vector:
        if not parts:
            return np.zeros(int(self._width(value)), "float32")
        return _union(parts, h)

    def _before(self, node, asked, factors, h) -> list[Vector]:
        rule, call = self.plan.rules[node], self.plan.calls[node]
        widths = [int(self._width(value)) for value in node.inputs]
        if isinstance(node.operation, Gate):
            return [_times(asked, factors[node.operation_name])]
        if isinstance(rule, DepthwiseConvolution):
            return [_folded(asked, node.operation.depth_multiplier, h)]
        if isinstance(rule, Concatenate) and rule._along_channels(call):
            return rule.wants(call, [asked])
        if isinstance(rule, Pad):
            before, _ = rule._beside(call)
            return [asked[before : before + widths[0]]]
        if isinstance(rule, DepthToSpace):
            return [_concat([asked] * node.operation.block_size**2)]
        return [asked if width == asked.shape[0] else np.ones(width, "float32") for width in widths]


def _starts(node: Node, width: int) -> range:
    return range(0, width * node.operation.block_size**2, width)


def _is_ones(vector: Vector) -> bool:
    return isinstance(vector, np.ndarray) and bool((vector == 1).all())


def _times(a: Vector, b: Vector) -> Vector:
    if _is_ones(a):
        return b
    return a if _is_ones(b) else a * b


def _union(parts: list[Vector], h) -> Vector:
    if len(parts) == 1:
        return parts[0]
    if all(isinstance(part, np.ndarray) for part in parts):
        return np.minimum(np.sum(parts, axis=0), 1.0).astype("float32")
    return h(tf.add_n([tf.convert_to_tensor(part) for part in parts]))


def _total(vector: Vector) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(vector, tf.float64))


def _broadcast(vector: Vector, width: int) -> Vector:
    if vector.shape[0] == width:
        return vector
    return np.ones(width, "float32") if _is_ones(vector) else tf.broadcast_to(vector, (width,))


def _repeat(vector: Vector, times: int) -> Vector:
    if times == 1:
        return vector
    return _gather(vector, np.repeat(np.arange(vector.shape[0]), times))


def _gather(vector: Vector, places: np.ndarray) -> Vector:
    return vector[places] if isinstance(vector, np.ndarray) else tf.gather(vector, places)


def _concat(parts: list[Vector]) -> Vector:
    if all(isinstance(part, np.ndarray) for part in parts):
        return np.concatenate(parts)
    return tf.concat(parts, axis=0)


def _folded(vector: Vector, times: int, h) -> Vector:
    if times == 1:
        return vector
    return _union([vector[start::times] for start in range(times)], h)


def _moved_back(move, parts: list[Vector], h) -> Vector:
    back = [
        _scatter(part, target.origin, move.count, h)
        for part, target in zip(parts, move.targets, strict=True)
    ]
    return _union(back, h)


def _scatter(vector: Vector, origin: np.ndarray, width: int, h) -> Vector:
    if isinstance(vector, np.ndarray):
        found = np.zeros(width, "float32")
        np.maximum.at(found, origin, vector)
        return found
    return h(tf.math.unsorted_segment_sum(vector, origin, width))
