"""Following channels through a graph: from a gate to the kernels that make and that read them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import NamedTuple

import keras
import numpy as np

from keras_nas import gates, surgery
from keras_nas.errors import KerasNasError
from keras_nas.graph import Node, Value
from keras_nas.layers import Gate, ScaledEdge
from keras_nas.surgery.analysis import Plan
from keras_nas.surgery.rules import is_opaque
from keras_nas.surgery.rules.base import SameChannels
from keras_nas.surgery.rules.convolution import DenseLike, GroupedConvolution
from keras_nas.surgery.rules.depthwise import DepthwiseConvolution
from keras_nas.surgery.rules.gate import GateRule
from keras_nas.surgery.rules.merge import Merge
from keras_nas.surgery.rules.reindex import Reindex


class Pairs(NamedTuple):
    """A relation of channels to channels: `left[i]` belongs to `right[i]`, ints."""

    left: np.ndarray
    right: np.ndarray

    def then(self, other: Pairs) -> Pairs:
        """left → right → other.right, each pair once."""
        order = np.argsort(other.left, kind="stable")
        keys, ends = other.left[order], other.right[order]
        first = np.searchsorted(keys, self.right, "left")
        number = np.searchsorted(keys, self.right, "right") - first
        start = np.repeat(first - np.cumsum(number) + number, number)
        return _distinct(np.repeat(self.left, number), ends[start + np.arange(number.sum())])

    def swapped(self) -> Pairs:
        """The relation read from right to left."""
        return Pairs(self.right, self.left)

    def joined(self, other: Pairs | None) -> Pairs:
        """The pairs of both, each once."""
        if other is None:
            return self
        return _distinct(
            np.concatenate([self.left, other.left]), np.concatenate([self.right, other.right])
        )


def _distinct(left: np.ndarray, right: np.ndarray) -> Pairs:
    return Pairs(*np.unique(np.stack([left, right]), axis=1))


def _same(count: int) -> Pairs:
    return Pairs(np.arange(count), np.arange(count))


@dataclasses.dataclass(frozen=True)
class Step:
    """A call that a gate's channels come from, or go to.

    Attributes:
        node: The call.
        pairs: (channel of the gate, channel of the call's output before the gate, or input behind).
    """

    node: Node
    pairs: Pairs


class Link(NamedTuple):
    """What a call hands on from one of its inputs to one of its outputs.

    Attributes:
        input, output: The two tensors.
        pairs: (channel of the output, channel of the input that it reads).
    """

    input: Value
    output: Value
    pairs: Pairs


class ChannelPaths:
    """Where the channels of a gated model's gates come from and go to.

    Read off the rules of surgery, every gate being open: an operation that has a rule and does not
    mix channels hands each of its channels on, a kernel begins and ends the path, and where an
    operation is unknown the path is lost.

    Args:
        model: A gated functional model.

    Attributes:
        plan: The analysis of the gated graph with every gate open.
        gates: The gates by channel (no scaled edges) by name, in graph order.

    Raises:
        KerasNasError: If the model cannot be read, or has no gate by channel in its graph.
    """

    def __init__(self, model: keras.Model):
        self.plan: Plan = surgery.make_plan(model, None)
        self.calls: dict[str, list[Node]] = {}
        for node in self.plan.graph.nodes:
            if is_channel_gate(node.operation):
                self.calls.setdefault(node.operation_name, []).append(node)
        self.gates: dict[str, Gate] = {name: c[0].operation for name, c in self.calls.items()}
        found = [gate for gate in gates.find(model) if is_channel_gate(gate)]
        if not found or len(found) != len(self.gates):
            raise KerasNasError(
                f"Model '{model.name}' has {len(found)} gates by channel, {len(self.gates)} of "
                "them in its graph: insert them with keras_nas.gates.insert first."
            )
        self._links: dict[Node, list[Link]] = {}

    def before(self, gate: str, stop: Callable[[Node], bool]) -> Iterator[Step]:
        """The calls that a gate's channels come from, the nearest first.

        Args:
            gate: The gate's name.
            stop: Called with each node: the path is not followed beyond one of which this is true.
        """
        found: dict[Value, Pairs] = {}
        for call in self.calls[gate]:
            found[call.inputs[0]] = _same(self.gates[gate].channels)
        for node in reversed(self.plan.graph.nodes):
            for value in [value for value in node.outputs if value in found]:
                yield Step(node, found[value])
                if not stop(node):
                    for link in self.links(node):
                        if link.output is value:
                            further = found[value].then(link.pairs)
                            found[link.input] = further.joined(found.get(link.input))

    def behind(self, gate: str, stop: Callable[[Node], bool]) -> Iterator[Step]:
        """The calls that a gate's channels go to, the nearest first; `stop` as in `before`."""
        found: dict[Value, Pairs] = {}
        for call in self.calls[gate]:
            found[call.outputs[0]] = _same(self.gates[gate].channels)
        for node in self.plan.graph.nodes:
            for value in [value for value in dict.fromkeys(node.inputs) if value in found]:
                yield Step(node, found[value])
                if not stop(node):
                    for link in self.links(node):
                        if link.input is value:
                            further = found[value].then(link.pairs.swapped())
                            found[link.output] = further.joined(found.get(link.output))

    def links(self, node: Node) -> list[Link]:
        """What a call hands on, channel by channel; nothing where channels are mixed or lost.

        A grouped convolution counts as handing on: each of its outputs reads the whole of its
        group. An operand of one channel that a join broadcasts does not.
        """
        if node not in self._links:
            self._links[node] = list(self._found_links(node))
        return self._links[node]

    def _found_links(self, node: Node) -> Iterator[Link]:
        call, rule = self.plan.calls[node], self.plan.rules[node]
        mixes = isinstance(rule, DenseLike) and not isinstance(rule, GroupedConvolution)
        if is_opaque(rule) or mixes or None in call.inputs or None in call.outputs:
            return
        if isinstance(rule, GateRule) and not rule._follows(call):
            return
        counts = [channels.count for channels in call.outputs if channels is not None]
        if isinstance(rule, SameChannels):
            yield Link(node.inputs[0], node.outputs[0], _same(counts[0]))
        elif isinstance(rule, Merge):
            for value, channels in zip(node.inputs, call.inputs, strict=True):
                if channels is not None and channels.count == counts[0]:
                    live = np.flatnonzero(channels.live)
                    yield Link(value, node.outputs[0], Pairs(live, live))
        elif isinstance(rule, Reindex):
            for output, target in zip(node.outputs, rule.move(call).targets, strict=True):
                pairs = Pairs(np.arange(len(target.origin)), target.origin)
                yield Link(node.inputs[0], output, pairs)
        else:
            wants = [rule.wants(call, [row]) for row in np.eye(counts[0], dtype=bool)]
            for value, masks in zip(node.inputs, zip(*wants, strict=True), strict=True):
                yield Link(value, node.outputs[0], Pairs(*np.nonzero(np.stack(masks))))

    def has_kernel(self, node: Node) -> bool:
        """Whether a call multiplies by a kernel: a convolution of any kind, or Dense."""
        return isinstance(self.plan.rules[node], (DenseLike, DepthwiseConvolution))


def is_channel_gate(operation) -> bool:
    """Whether an operation is a gate with a factor for each channel."""
    return isinstance(operation, Gate) and not isinstance(operation, ScaledEdge)
