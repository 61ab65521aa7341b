"""Choosing, where a reader asks for a constant channel, between making it and padding it in."""

from __future__ import annotations

import numpy as np

from keras_nas.graph import Node, Value
from keras_nas.surgery.rules.base import positions

PADDED_ELEMENT_MACS = 120.0
"""What one element costs that is padded and gathered, in multiply-adds of a convolution.

A gather along the last axis moves single floats (about 1 ns each in LiteRT on one x86 core), the
pad before it copies once more, and both stand outside XNNPACK and split its graph: about 2 ns. A
convolution of the demo's pruned network takes about 0.018 ns a multiply-add.
"""


class Extension:
    """Decides between *extend* (the producer makes the constant) and *pad* (zero-pad, gather)."""

    def __init__(self, channels, calls, rules, align: str):
        self.channels = channels
        self.calls = calls
        self.rules = rules
        self.align = align

    def is_better(self, value: Value, wanted: np.ndarray, constant: np.ndarray) -> bool:
        """Whether the producer of `value` should make its `constant` channels itself."""
        if self.align == "pad":
            return False
        cost = self._cost(value, constant, {})
        if self.align == "extend":
            return np.isfinite(cost)
        return cost <= PADDED_ELEMENT_MACS * positions(value) * int(wanted.sum())

    def _cost(self, value: Value, mask: np.ndarray, known: dict[Value, float]) -> float:
        """Multiply-adds to have the channels of `mask` in the tensor; infinite where impossible."""
        if value.producer is None:
            return 0.0
        if value not in known:
            known[value] = float("inf")
            known[value] = self._producer_cost(value.producer, value, mask, known)
        return known[value]

    def _producer_cost(self, node: Node, value: Value, mask: np.ndarray, known) -> float:
        call, rule = self.calls[node], self.rules[node]
        cost = rule.row_macs(call) * int(mask.sum())
        if not np.isfinite(cost) or rule.reads_all_inputs:
            return cost
        produced = [
            mask if output is value else np.zeros(0 if known_of is None else known_of.count, bool)
            for output, known_of in zip(node.outputs, call.outputs, strict=True)
        ]
        for source, wanted in zip(node.inputs, rule.wants(call, produced), strict=True):
            channels = self.channels[source]
            if channels is None or not wanted.any():
                continue
            made = self._cost(source, wanted, known)
            if not (wanted & channels.live).any():
                padded = PADDED_ELEMENT_MACS * positions(source) * int(wanted.sum())
                made = min(made, padded)
            cost += made
        return cost
