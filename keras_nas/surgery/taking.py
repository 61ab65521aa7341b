"""Choosing, where a tensor holds more than a reader wants, between a gather and taking it whole."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from keras_nas.costs.align_prices import AlignPrices
from keras_nas.graph import Node, Value
from keras_nas.surgery.align import steps
from keras_nas.surgery.plan import Plan
from keras_nas.surgery.rules.base import Call, Rule, positions


class Read(NamedTuple):
    """What a call wants of a tensor.

    Attributes:
        node: The call; None for an output of the model, and for what is wanted as a mask.
        position: Of the tensor among its inputs.
        wants: bool, one entry a channel.
    """

    node: Node | None
    position: int
    wants: np.ndarray


class Taking:
    """Finds what readers of a tensor do that holds other channels than they want.

    A convolution or Dense layer may take a tensor whole: it gets columns for channels that it did
    not want, which multiply zeros, or what would have gone into its bias. A call that hands each
    channel on by itself (a BatchNormalization, an activation, a pooling, a depthwise convolution)
    may do so too where its own readers can take more. Else the channels are gathered.

    Worked example: x holds (0, 1, 2), as its producer was extended by 2 for a sum; the next 3×3
    convolution, of 8 outputs at 64 positions, wants (0, 2). A gather moves 128 elements: 128 · 4.2
    + 240 = 778 ns. One more column is 64 · 9 · 8 · 0.075 = 346 ns: it takes x as it is.

    Args:
        plan: The plan that a backward walk fills.
        prices: Of the device.
        chooses: Whether readers may take more; else they get what they want.

    Attributes:
        reads: By tensor, what its readers want of it, as far as the walk has come.
    """

    def __init__(self, plan: Plan, prices: AlignPrices, chooses: bool):
        self.reads: dict[Value, list[Read]] = {}
        self._plan = plan
        self._prices = prices
        self._chooses = chooses
        self._least: dict[Value, np.ndarray] = {}
        self._calls = plan.graph.calls()

    def least(self, value: Value) -> np.ndarray | None:
        """What has to be made of a tensor so that calls behind it can take it whole."""
        return self._least.get(value)

    def price(self, value: Value, held: np.ndarray, reads: list[Read]) -> float:
        """Nanoseconds of what the readers of a tensor do if it holds the channels `held`."""
        return self._ways(value, held, reads)[0]

    def settle(self) -> bool:
        """Lets readers take tensors whole where that is cheaper, after a walk backward.

        Returns:
            Whether more has to be made somewhere, so that the walk must be repeated.
        """
        grew = False
        for value, reads in self.reads.items():
            held = self._plan.held[value]
            if self._chooses and held is not None and held.any():
                for read in self._ways(value, held, reads)[1]:
                    grew |= self._let(read, held)
        return grew

    def _ways(self, value: Value, held: np.ndarray, reads: list[Read]) -> tuple[float, list[Read]]:
        """What the readers' ways cost in nanoseconds, and the reads that take the tensor whole.

        Those who want the same either all take it, or one gather serves them.
        """
        alike: dict[bytes, list[Read]] = {}
        for read in reads:
            alike.setdefault(read.wants.tobytes(), []).append(read)
        cost, takers = 0.0, list[Read]()
        for group in alike.values():
            gather = self.gather(value, held, group[0].wants)
            if gather:
                taken = sum(self._take(read, held) for read in group)
                takers += group if taken < gather else []
                cost += min(gather, taken)
        return cost, takers

    def _let(self, read: Read, held: np.ndarray) -> bool:
        """Has a reader take what its tensor holds; says whether the walk must be repeated."""
        node = read.node
        assert node is not None
        if self._plan.rules[node].takes_more(self._plan.calls[node], held):
            self._plan.calls[node].wants[read.position] = held
            return False
        (output,) = node.outputs
        before = self._least.get(output, np.zeros_like(held))
        self._least[output] = before | held
        return bool((held & ~before).any())

    def _take(self, read: Read, held: np.ndarray) -> float:
        """Nanoseconds more for a reader to take a tensor whole; infinite where it cannot."""
        node, impossible = read.node, float("inf")
        if node is None or not self._chooses or (read.wants & ~held).any():
            return impossible
        call, rule = self._plan.calls[node], self._plan.rules[node]
        if len(self._calls[node.operation_name]) > 1 and rule.stateful:
            return impossible  # its other calls would have to take the same
        made = call.produces[0]
        if made is None:
            return impossible
        if rule.takes_more(call, held):
            columns, price = rule.column_macs(call), self._prices.of(rule.kernel_kind(call))
            if not np.isfinite(columns):
                return impossible
            surplus = int((held & ~read.wants).sum())
            return columns * price * self._prices.width(int(made.sum())) * surplus
        if not self._hands_on(rule, call, held):
            return impossible
        (output,) = node.outputs
        behind = self.reads.get(output, [])
        before, after = (self.price(output, mask, behind) for mask in (made, made | held))
        rows = rows_price(self._prices, rule, call, int(made.sum()), int((held & ~made).sum()))
        return rows + after - before

    @staticmethod
    def _hands_on(rule: Rule, call: Call, held: np.ndarray) -> bool:
        """Whether the call, asked for just the channels `held`, reads and makes these."""
        if rule.reads_all_inputs or len(call.inputs) != 1 or len(call.outputs) != 1:
            return False
        output = call.outputs[0]
        if output is None or output.count != len(held):
            return False
        wants = rule.wants(call, [held])
        masks = [*wants, *rule.produces(call, [held], wants)]
        return all(mask is not None and np.array_equal(mask, held) for mask in masks)

    def gather(self, value: Value, held: np.ndarray, wants: np.ndarray) -> float:
        """Nanoseconds to have `wants` made of a tensor that holds `held`; 0 where it is so.

        A constant other than 0 that the tensor lacks is added behind the pad.
        """
        if not wants.any() or np.array_equal(held, wants):
            return 0.0
        channels = self._plan.channels[value]
        assert channels is not None
        places, cost = positions(value, channels.axis), 0.0
        for step in steps(held, wants):
            cost += self._prices.of(step.what) * places * len(step.places)
            cost += self._prices.partition if step.what == "gather" else 0.0
        if np.any(channels.constants[wants & ~held] != 0):
            cost += self._prices.elementwise * places * int(wants.sum())
        return cost


def rows_price(prices: AlignPrices, rule: Rule, call: Call, beside: int, more: int) -> float:
    """Nanoseconds for a call to make so many channels `more` than those `beside` them.

    A kernel takes the time of whole tiles. Infinite where the call cannot.
    """
    work, kind = rule.row_macs(call), rule.kernel_kind(call)
    if not np.isfinite(work):
        return float("inf")
    if kind != "elementwise":
        more = prices.width(beside + more) - prices.width(beside)
    return work * prices.of(kind) * more


def moved(prices: AlignPrices, value: Value, axis: int, channels: int) -> float:
    """Nanoseconds to pad a tensor and gather so many channels of it, which lie on `axis`."""
    each = prices.pad + prices.gather
    return each * positions(value, axis) * channels + prices.partition
