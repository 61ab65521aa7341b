"""Choosing, where a reader asks for a constant channel, between making it and padding it in."""

from __future__ import annotations

import numpy as np

from keras_nas.costs.align_prices import AlignPrices
from keras_nas.graph import Node, Value
from keras_nas.surgery.plan import Plan
from keras_nas.surgery.taking import Read, Taking, moved


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
        made = self._cost(value, wanted & ~live, int(live.sum()), {})
        if self.align == "extend" or not np.isfinite(made):
            return bool(np.isfinite(made))
        if not live.any():
            return made <= moved(self.prices, value, int(wanted.sum()))
        extended, padded = (self.taking.price(value, held, reads) for held in (wanted, live))
        return made + extended <= padded

    def _cost(self, value: Value, mask: np.ndarray, beside: int, known: dict[Value, float]):
        """Nanoseconds to have the channels of `mask` in the tensor; infinite where impossible.

        Args:
            value: The tensor.
            mask: The channels, bool.
            beside: How many others it holds.
            known: What was found before, by the tensor.
        """
        if value.producer is None:
            return 0.0
        if value not in known:
            known[value] = float("inf")
            known[value] = self._producer_cost(value.producer, value, mask, beside, known)
        return known[value]

    def _producer_cost(self, node: Node, value: Value, mask: np.ndarray, beside: int, known):
        call, rule = self.plan.calls[node], self.plan.rules[node]
        kind, rows = rule.kernel_kind(call), int(mask.sum())
        if kind != "elementwise":
            rows = self.prices.width(beside + rows) - self.prices.width(beside)
        cost = rule.row_macs(call)
        cost = cost * self.prices.of(kind) * rows if np.isfinite(cost) else cost
        if not np.isfinite(cost) or rule.reads_all_inputs:
            return cost
        produced = [
            mask if output is value else np.zeros(0 if known_of is None else known_of.count, bool)
            for output, known_of in zip(node.outputs, call.outputs, strict=True)
        ]
        for source, wanted in zip(node.inputs, rule.wants(call, produced), strict=True):
            channels = self.plan.channels[source]
            if channels is None or not wanted.any():
                continue
            made = self._cost(source, wanted, beside, known)
            if not (wanted & channels.live).any():
                made = min(made, moved(self.prices, source, beside + int(wanted.sum())))
            cost += made
        return cost
