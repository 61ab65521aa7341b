"""Choosing, where a reader asks for a constant channel, between making it and padding it in."""

from __future__ import annotations

import numpy as np

from keras_nas.costs.align_prices import AlignPrices
from keras_nas.graph import Node, Value
from keras_nas.surgery.plan import Plan
from keras_nas.surgery.taking import Read, Taking, moved, rows_price

Paid = dict[Value, np.ndarray]
"""By tensor, channels that were added to it already, bool."""


class Extension:
    """Decides between *extend* (the producer makes the constant) and *pad* (zero-pad, gather).

    With `align="auto"` it adds up what either leads to: the producer's rows (a row that fits into
    the kernel's last tile is free), and what every reader of the tensor then does: take it as it
    is, have it gathered, or take more than it wants (`Taking`).

    Args:
        plan: The plan that a backward walk fills.
        align: As in `analyse`.
        prices: Of the device.
        taking: What readers do.
    """

    def __init__(self, plan: Plan, align: str, prices: AlignPrices, taking: Taking):
        self.plan = plan
        self.align = align
        self.prices = prices
        self.taking = taking
        self.weighs = align == "auto"
        self.calls = plan.graph.calls()

    def is_better(self, value: Value, wanted: np.ndarray, reads: list[Read]) -> bool:
        """Whether the producer of `value` should make its constant channels itself.

        Args:
            value: A tensor.
            wanted: What its readers want of it together, bool; constants among them.
            reads: What each reader wants.
        """
        channels = self.plan.channels[value]
        assert channels is not None
        if self.align == "pad":
            return False
        live = wanted & channels.live
        made = self._cost(value, live if self.weighs else np.zeros_like(live), wanted & ~live, {})
        if not self.weighs or not np.isfinite(made):
            return bool(np.isfinite(made))
        if not live.any():
            return made <= self._padded(value, channels.axis, live, wanted)
        extended, padded = (self.taking.price(value, held, reads) for held in (wanted, live))
        return made + extended < padded

    def _padded(self, value: Value, axis: int, held: np.ndarray, wanted: np.ndarray) -> float:
        """Nanoseconds to pad what is `wanted` into a tensor; all of it where that holds nothing."""
        if held.any():
            return self.taking.gather(value, held, wanted)
        return moved(self.prices, value, axis, int(wanted.sum()))

    def _cost(self, value: Value, beside: np.ndarray, more: np.ndarray, paid: Paid) -> float:
        """Nanoseconds to have `more` channels in a tensor; infinite where that is impossible.

        Args:
            value: The tensor.
            beside: What is wanted of it in any case, bool by channel, and so taken to be there.
            more: What else is to be there.
            paid: By tensor, what was added on another way to it, and so costs nothing more.
        """
        before = paid.get(value, np.zeros_like(more))
        beside = beside | before
        more = more & ~beside
        if value.producer is None or not more.any():
            return 0.0
        paid[value] = before | more
        return self._producer_cost(value.producer, value, beside, more, paid)

    def _producer_cost(self, node: Node, value: Value, beside, more, paid: Paid) -> float:
        rule, width, rows = self.plan.rules[node], int(beside.sum()), int(more.sum())
        alike = self.calls[node.operation_name] if self.weighs and rule.stateful else [node]
        calls = [self.plan.calls[other] for other in alike]
        cost = sum(rows_price(self.prices, rule, call, width, rows) for call in calls)
        if not np.isfinite(cost) or rule.reads_all_inputs:
            return cost
        reads = [self._wants(node, value, mask) for mask in (beside, beside | more)]
        for source, before, after in zip(node.inputs, *reads, strict=True):
            if before is not None and after is not None:
                cost += self._input_cost(source, before, after & ~before, paid)
        return cost

    def _wants(self, node: Node, value: Value, mask: np.ndarray) -> list[np.ndarray | None]:
        """What a call reads of its inputs to make the channels `mask` of one of its outputs."""
        call = self.plan.calls[node]
        produced = [
            None if known is None else (mask if output is value else np.zeros(known.count, bool))
            for output, known in zip(node.outputs, call.outputs, strict=True)
        ]
        return self.plan.rules[node].wants(call, produced)

    def _input_cost(self, source: Value, beside, more, paid: Paid) -> float:
        """Nanoseconds to have `more` channels in a call's input: made there, or padded in."""
        channels, ways = self.plan.channels[source], dict(paid)
        made = self._cost(source, beside, more, ways)
        if channels is not None and more.any() and not (more & channels.live).any():
            padded = self._padded(source, channels.axis, beside, beside | more)
            if padded < made:
                paid[source] = paid.get(source, np.zeros_like(more)) | more
                return padded
        paid.update(ways)
        return made
