"""What each call of a graph hands on, channel by channel, as the rules of surgery have it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from keras_nas.graph import Node, Value
from keras_nas.surgery.plan import Plan
from keras_nas.surgery.rules import is_opaque
from keras_nas.surgery.rules.base import SameChannels
from keras_nas.surgery.rules.convolution import DenseLike, GroupedConvolution
from keras_nas.surgery.rules.gate import GateRule
from keras_nas.surgery.rules.merge import Merge
from keras_nas.surgery.rules.reindex import Reindex


class Pairs(NamedTuple):
    """A relation of channels to channels: `left[i]` belongs to `right[i]`, ints."""

    left: np.ndarray
    right: np.ndarray

    @classmethod
    def same(cls, count: int) -> Pairs:
        """Each of so many channels belongs to itself."""
        return cls(np.arange(count), np.arange(count))

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


class Link(NamedTuple):
    """What a call hands on from one of its inputs to one of its outputs.

    Attributes:
        input, output: The two tensors.
        pairs: (channel of the output, channel of the input that it reads).
    """

    input: Value
    output: Value
    pairs: Pairs


class Links:
    """What the calls of a plan hand on, channel by channel.

    Args:
        plan: The analysis of a graph with every gate open.
    """

    def __init__(self, plan: Plan):
        self._plan = plan
        self._found: dict[Node, list[Link]] = {}

    def of(self, node: Node) -> list[Link]:
        """What a call hands on; nothing where channels are mixed or lost.

        A grouped convolution counts as handing on: each of its outputs reads the whole of its
        group. An operand of one channel that a join broadcasts does not.
        """
        if node not in self._found:
            self._found[node] = list(self._links(node))
        return self._found[node]

    def _links(self, node: Node) -> Iterator[Link]:
        call, rule = self._plan.calls[node], self._plan.rules[node]
        mixes = isinstance(rule, DenseLike) and not isinstance(rule, GroupedConvolution)
        if is_opaque(rule) or mixes or None in call.inputs or None in call.outputs:
            return
        if isinstance(rule, GateRule) and not rule._follows(call):
            return
        counts = [channels.count for channels in call.outputs if channels is not None]
        if isinstance(rule, SameChannels):
            yield Link(node.inputs[0], node.outputs[0], Pairs.same(counts[0]))
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
