"""Which channels of a graph belong together: those that one operation reads as its channel c."""

from __future__ import annotations

import numpy as np

from keras_nas.graph import Node, Value
from keras_nas.layers import Gate
from keras_nas.surgery.links import Links
from keras_nas.surgery.plan import Plan


class Ties:
    """The channels of all tensors of a plan, in sets that are tied together.

    Args:
        plan: The analysis of a graph with every gate open.
    """

    def __init__(self, plan: Plan):
        self._plan = plan
        self._first: dict[Value, int] = {}
        total = 0
        for value in plan.graph.values:
            channels = plan.channels[value]
            self._first[value] = total
            total += 0 if channels is None else channels.count
        self._sets = _Sets(total)
        self._tie()

    def roots(self, value: Value) -> np.ndarray:
        """A number for each channel, the same where two are tied: int `(channels,)`."""
        channels = self._plan.channels[value]
        count = 0 if channels is None else channels.count
        return self._sets.roots(self._first[value] + np.arange(count))

    def _tie(self) -> None:
        plan, first, links = self._plan, self._first, Links(self._plan)
        for node in plan.graph.nodes:
            for link in links.of(node):
                pairs = link.pairs
                self._sets.unite(first[link.output] + pairs.left, first[link.input] + pairs.right)
        for calls in plan.graph.calls().values():
            if plan.rules[calls[0]].stateful or isinstance(calls[0].operation, Gate):
                for call in calls[1:]:
                    self._tie_calls(calls[0], call)

    def _tie_calls(self, one: Node, other: Node) -> None:
        pairs = [(one.inputs[0], other.inputs[0]), (one.outputs[0], other.outputs[0])]
        for a, b in pairs:
            channels, others = self._plan.channels[a], self._plan.channels[b]
            if channels is not None and others is not None and channels.count == others.count:
                each = np.arange(channels.count)
                self._sets.unite(self._first[a] + each, self._first[b] + each)


class _Sets:
    """Disjoint sets of numbers from 0."""

    def __init__(self, count: int):
        self._parent = list(range(count))

    def root(self, number: int) -> int:
        parent = self._parent
        while parent[number] != number:
            parent[number] = number = parent[parent[number]]
        return number

    def unite(self, left: np.ndarray, right: np.ndarray):
        """Puts `left[i]` and `right[i]` into one set, for each i."""
        for a, b in zip(left.tolist(), right.tolist(), strict=True):
            self._parent[self.root(a)] = self.root(b)

    def roots(self, numbers: np.ndarray) -> np.ndarray:
        return np.array([self.root(number) for number in numbers.tolist()], int)
