"""Which gates' channels belong together: those that meet where a network joins its streams."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import keras
import numpy as np

from keras_nas.graph import Node, Value
from keras_nas.importance.channel_paths import ChannelPaths
from keras_nas.layers import Gate


@dataclasses.dataclass(frozen=True)
class Group:
    """Units of the same gates; the channels of a unit are kept or closed together.

    Attributes:
        channels: By the gate's name, the channels of each unit: int `(units, channels of one)`.
    """

    channels: Mapping[str, np.ndarray]

    @property
    def units(self) -> int:
        return len(next(iter(self.channels.values())))

    def take(self, units: np.ndarray) -> Group:
        """The group with the units of an index or mask only."""
        return Group({name: channels[units] for name, channels in self.channels.items()})


def tied_groups(model: keras.Model, tied: bool = True) -> list[Group]:
    """The channels of all gates, as units that are tied together, in graph order.

    Two channels are tied where one operation reads both as its channel c: the operands of an
    addition, a multiplication or another join, what goes into a depthwise convolution and what
    comes out, all that goes through one group of a grouped convolution, the parts of one pixel in
    a pixel shuffle, the calls of a shared layer. A factor of one channel (spatial attention) ties
    nothing, and a layer that surgery has no rule for does not either.

    Surgery is exact without any of this: where masks differ at a join it extends a producer by rows
    of zeros, or pads and gathers. With tied channels kept or closed together there is nothing to
    align, and what is closed is gone.

    Example:

    ```python
    for group in keras_nas.importance.tied_groups(supernet):
        print(group.units, list(group.channels))
    ```

    Args:
        model: A gated functional model.
        tied: False makes each channel a unit of its own.

    Raises:
        KerasNasError: If the model cannot be read, or has no gate by channel in its graph.
    """
    paths = ChannelPaths(model)
    if not tied:
        return [
            Group({name: np.arange(gate.channels)[:, None]}) for name, gate in paths.gates.items()
        ]
    return _groups(paths.gates, _roots(paths))


def _groups(found: Mapping[str, Gate], roots: Mapping[str, np.ndarray]) -> list[Group]:
    units: dict[int, dict[str, list[int]]] = {}
    for name in found:
        for channel, root in enumerate(roots[name]):
            units.setdefault(int(root), {}).setdefault(name, []).append(channel)
    alike: dict[tuple, list[dict[str, list[int]]]] = {}
    for unit in units.values():
        alike.setdefault(tuple((name, len(c)) for name, c in unit.items()), []).append(unit)
    return [
        Group({name: np.array([unit[name] for unit in together]) for name in together[0]})
        for together in alike.values()
    ]


def _roots(paths: ChannelPaths) -> dict[str, np.ndarray]:
    """By the gate's name, a number for each channel: the same where two are tied."""
    graph = paths.plan.graph
    first: dict[Value, int] = {}
    total = 0
    for value in graph.values:
        channels = paths.plan.channels[value]
        first[value] = total
        total += 0 if channels is None else channels.count
    sets = _Sets(total)
    for node in graph.nodes:
        for link in paths.links(node):
            pairs = link.pairs
            sets.unite(first[link.output] + pairs.left, first[link.input] + pairs.right)
    for calls in graph.calls().values():
        if paths.plan.rules[calls[0]].stateful or isinstance(calls[0].operation, Gate):
            for call in calls[1:]:
                _unite_calls(paths, sets, first, calls[0], call)
    return {
        name: sets.roots(first[calls[0].outputs[0]] + np.arange(paths.gates[name].channels))
        for name, calls in paths.calls.items()
    }


def _unite_calls(paths: ChannelPaths, sets: _Sets, first, one: Node, other: Node):
    pairs = [(one.inputs[0], other.inputs[0]), (one.outputs[0], other.outputs[0])]
    for a, b in pairs:
        channels, others = paths.plan.channels[a], paths.plan.channels[b]
        if channels is not None and others is not None and channels.count == others.count:
            each = np.arange(channels.count)
            sets.unite(first[a] + each, first[b] + each)


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
