"""Following channels through a graph: from a gate to the kernels that make and that read them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import keras

from keras_nas import surgery
from keras_nas.gates.find import calls_by_channel
from keras_nas.graph import Node, Value
from keras_nas.layers import Gate
from keras_nas.surgery.links import Links, Pairs
from keras_nas.surgery.plan import Plan
from keras_nas.surgery.rules.convolution import DenseLike
from keras_nas.surgery.rules.depthwise import DepthwiseConvolution


@dataclasses.dataclass(frozen=True)
class Step:
    """A call that a gate's channels come from, or go to.

    Attributes:
        node: The call.
        pairs: (channel of the gate, channel of the call's output before the gate, or input behind).
    """

    node: Node
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
        self.calls = calls_by_channel(model, self.plan.graph)
        self.gates: dict[str, Gate] = {name: c[0].operation for name, c in self.calls.items()}
        self._links = Links(self.plan)

    def before(self, gate: str, stop: Callable[[Node], bool]) -> Iterator[Step]:
        """The calls that a gate's channels come from, the nearest first.

        Args:
            gate: The gate's name.
            stop: Called with each node: the path is not followed beyond one of which this is true.
        """
        found: dict[Value, Pairs] = {}
        for call in self.calls[gate]:
            found[call.inputs[0]] = Pairs.same(self.gates[gate].channels)
        for node in reversed(self.plan.graph.nodes):
            for value in [value for value in node.outputs if value in found]:
                yield Step(node, found[value])
                if not stop(node):
                    for link in self._links.of(node):
                        if link.output is value:
                            further = found[value].then(link.pairs)
                            found[link.input] = further.joined(found.get(link.input))

    def behind(self, gate: str, stop: Callable[[Node], bool]) -> Iterator[Step]:
        """The calls that a gate's channels go to, the nearest first; `stop` as in `before`."""
        found: dict[Value, Pairs] = {}
        for call in self.calls[gate]:
            found[call.outputs[0]] = Pairs.same(self.gates[gate].channels)
        for node in self.plan.graph.nodes:
            for value in [value for value in dict.fromkeys(node.inputs) if value in found]:
                yield Step(node, found[value])
                if not stop(node):
                    for link in self._links.of(node):
                        if link.input is value:
                            further = found[value].then(link.pairs.swapped())
                            found[link.output] = further.joined(found.get(link.output))

    def has_kernel(self, node: Node) -> bool:
        """Whether a call multiplies by a kernel: a convolution of any kind, or Dense."""
        return isinstance(self.plan.rules[node], (DenseLike, DepthwiseConvolution))
