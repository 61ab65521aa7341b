"""Which gates' channels belong together: those that meet where a network joins its streams."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import keras
import numpy as np

from keras_nas.gates.find import calls_by_channel
from keras_nas.surgery.build import make_plan
from keras_nas.surgery.ties import Ties


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

    def step(self, multiple: int) -> int:
        """The units of which every gate has a multiple of so many channels: the least number."""
        per_unit = [channels.shape[1] for channels in self.channels.values()]
        return math.lcm(*(multiple // math.gcd(multiple, n) for n in per_unit))

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
    plan = make_plan(model, None)
    calls = calls_by_channel(model, plan.graph)
    if not tied:
        return [
            Group({name: np.arange(nodes[0].operation.channels)[:, None]})
            for name, nodes in calls.items()
        ]
    ties = Ties(plan)
    return _groups({name: ties.roots(nodes[0].outputs[0]) for name, nodes in calls.items()})


def _groups(roots: Mapping[str, np.ndarray]) -> list[Group]:
    units: dict[int, dict[str, list[int]]] = {}
    for name, of_channels in roots.items():
        for channel, root in enumerate(of_channels.tolist()):
            units.setdefault(root, {}).setdefault(name, []).append(channel)
    alike: dict[tuple, list[dict[str, list[int]]]] = {}
    for unit in units.values():
        alike.setdefault(tuple((name, len(c)) for name, c in unit.items()), []).append(unit)
    return [
        Group({name: np.array([unit[name] for unit in together]) for name in together[0]})
        for together in alike.values()
    ]
