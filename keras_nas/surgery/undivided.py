"""Surgery without alignment: every reader takes a tensor with just the channels that it holds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from keras_nas.errors import KerasNasError
from keras_nas.graph import Node, Value
from keras_nas.surgery.links import Links
from keras_nas.surgery.plan import Plan


class Undivided:
    """What `align="never"` asks of a plan, so that nothing is gathered, padded or sliced.

    Whatever is wanted of a tensor, constants too, its producer makes. Where a reader wants less
    than the tensor then holds, a convolution or Dense layer takes the rest into its kernel (what it
    multiplies is 0, or would have gone into its bias), and an operation that hands channels on
    makes more of them, which those behind it take in turn. An operation that chooses among its
    input's channels, or can be led to take no more, keeps all of them, as a layer without a rule
    does (`stuck`): then the network's own slices and splits stay as they are.

    Worked example: the stream x1 = x0 + f1 holds channels 0, 1, 2 where f1 makes 0 and 1, and the
    next block adds channel 2. f1's last convolution gets a row of zeros for channel 2, and the
    convolution that reads x1 a third input channel, though it is always 0.

    Args:
        plan: The plan that a backward walk fills.
        open_plan: Gives the plan with every gate open.

    Attributes:
        stuck: The nodes that have to keep all their channels, once `grow` says that it is done.
    """

    def __init__(self, plan: Plan, open_plan: Callable[[], Plan]):
        self.stuck: set[Node] = set()
        self._plan = plan
        self._open_plan = open_plan
        self._links: Links | None = None
        self._least: dict[Value, np.ndarray] = {}
        self._calls = plan.graph.calls()

    def produced(self, value: Value, wanted: np.ndarray) -> np.ndarray:
        """What is made of a value: all that is asked for, or nothing where that is constant."""
        channels = self._plan.channels[value]
        assert channels is not None
        asked = wanted | self._least.get(value, np.zeros_like(wanted))
        return asked if (asked & channels.live).any() else np.zeros_like(asked)

    def grow(self) -> bool:
        """Looks at what readers want and tensors hold after a walk backward.

        Returns:
            Whether more has to be made somewhere, so that the walk must be repeated.

        Raises:
            KerasNasError: If a reader wants what the producer of its tensor does not make.
        """
        self.stuck.clear()
        grew = False
        for node in self._plan.graph.nodes:
            if node in self._plan.alive:
                for position in range(len(node.inputs)):
                    grew |= self._settle(node, position)
                if self._plan.rules[node].gathers(self._plan.calls[node]):
                    self.stuck.add(node)
        if not grew and not self.stuck:
            self._check()
        return grew

    def _check(self) -> None:
        """Raises a `KerasNasError` where a reader wants other channels than there are."""
        plan = self._plan
        reads = [
            (f"'{node.name}'", value, wants)
            for node in plan.graph.nodes
            if node in plan.alive
            for value, wants in zip(node.inputs, plan.calls[node].wants, strict=True)
        ]
        for value in plan.graph.outputs:
            channels = plan.channels[value]
            if channels is not None:
                reads.append(("an output of the model", value, np.ones(channels.count, bool)))
        for reader, value, wants in reads:
            held = plan.held[value]
            if wants is None or held is None or not wants.any() or not held.any():
                continue
            if not np.array_equal(wants, held):
                raise _refusal(reader, value)

    def _settle(self, node: Node, position: int) -> bool:
        call, rule, value = self._plan.calls[node], self._plan.rules[node], node.inputs[position]
        wants, held = call.wants[position], self._plan.held[value]
        if wants is None or held is None or not wants.any():
            return False
        if rule.takes_more(call, held):
            return self._take(node, position, wants, held)
        if not held.any():
            return False
        surplus = held & ~wants
        if not surplus.any() or self._hand_on(node, value, surplus):
            return bool(surplus.any())
        self.stuck.add(node)
        return False

    def _take(self, node: Node, position: int, wants: np.ndarray, held: np.ndarray) -> bool:
        """Makes all calls of a layer read the same; says whether this one's tensor must hold more.

        A tensor of constants alone holds nothing, and is made as it is read.
        """
        values = [call.inputs[position] for call in self._calls[node.operation_name]]
        masks = [mask for mask in map(self._plan.held.get, values) if mask is not None]
        joined = np.logical_or.reduce(masks)
        if joined.any():
            joined = joined | wants
            self._plan.calls[node].wants[position] = joined
        if not held.any() or np.array_equal(joined, held):
            return False
        return self._ask(node.inputs[position], joined)

    def _hand_on(self, node: Node, value: Value, surplus: np.ndarray) -> bool:
        """Asks for the channels behind a node that read the surplus; says whether that is new."""
        if self._links is None:
            self._links = Links(self._open_plan())
        new = False
        for link in self._links.of(node):
            if link.input is value:
                made = self._plan.held[link.output]
                assert made is not None
                asked = np.zeros_like(made)
                asked[link.pairs.left[surplus[link.pairs.right]]] = True
                new |= bool((asked & ~made).any()) and self._ask(link.output, asked)
        return new

    def _ask(self, value: Value, mask: np.ndarray) -> bool:
        before = self._least.get(value, np.zeros_like(mask))
        self._least[value] = before | mask
        return bool((mask & ~before).any())


def _refusal(reader: str, value: Value) -> KerasNasError:
    made = "the input" if value.producer is None else f"'{value.producer.name}'"
    return KerasNasError(
        f"align='never' is impossible at {reader}: it reads constant channels of '{value.source}' "
        f"that {made} does not make, so that they would be padded in. Take align='auto', or give "
        "the branches that meet there one gate (`streams` of keras_nas.gates.insert)."
    )
