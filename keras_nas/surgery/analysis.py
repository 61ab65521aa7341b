"""The channel analysis: constants forward, need backward, to a fixed point. Changes nothing."""

from __future__ import annotations

from collections.abc import Set
from weakref import WeakKeyDictionary

import numpy as np

from keras_nas.costs.align_prices import AlignPrices
from keras_nas.errors import UsageError
from keras_nas.graph import Graph, Node, Value
from keras_nas.layers import Gate
from keras_nas.surgery.attach import Attachment, Layout, attach
from keras_nas.surgery.channels import Channels, all_live
from keras_nas.surgery.extend import Extension
from keras_nas.surgery.masks import bound_joins
from keras_nas.surgery.plan import Plan
from keras_nas.surgery.rules import is_opaque, rule_for
from keras_nas.surgery.rules.base import Call
from keras_nas.surgery.taking import Read, Taking
from keras_nas.surgery.undivided import Undivided

ALIGNMENTS = ("auto", "pad", "extend", "never")


def analyse(
    graph: Graph,
    scales: dict[str, np.ndarray],
    align: str = "auto",
    prices: AlignPrices | None = None,
) -> Plan:
    """Finds which channels of which tensor the smaller network needs.

    Args:
        graph: The gated graph.
        scales: What each gate multiplies its channels by, by the gate's operation name.
        align: How operands of a join get the same channels: `"extend"` (the producer keeps a row of
            zeros), `"pad"` (zero-pad and gather), `"auto"` (what costs less at each place: either,
            or that readers take tensors as they are; see `Extension`, `Taking`) or `"never"` (the
            producer extends, and readers take tensors as they are; see `Undivided`).
        prices: What `"auto"` weighs by; None for the default, an x86 core's.

    Returns:
        The `Plan`.

    Raises:
        KerasNasError: If `align` is unknown, or `"never"` is impossible.
    """
    if align not in ALIGNMENTS:
        raise UsageError(f"`align` must be one of {ALIGNMENTS}. Received: align={align!r}")
    whole: set[Node] = set()
    while True:
        plan = forward(graph, scales, whole)
        undivided = Undivided(plan, lambda: open_plan(graph)) if align == "never" else None
        _Backward(plan, align, prices or AlignPrices(), undivided).run()
        if undivided is None or not undivided.stuck:
            return plan
        whole |= undivided.stuck


def open_plan(graph: Graph) -> Plan:
    """The plan as far as constants are known, with every gate open."""
    gates = [node for node in graph.nodes if isinstance(node.operation, Gate)]
    open_gates = {node: np.ones(int(node.outputs[0].shape[-1] or 1)) for node in gates}
    return _constants(graph, Attachment(left=open_gates))


_LAYOUTS: WeakKeyDictionary[Graph, Layout] = WeakKeyDictionary()


def _layout(graph: Graph) -> Layout:
    """The graph's layout, found with every gate open, once a graph."""
    if graph not in _LAYOUTS:
        plan = open_plan(graph)
        _LAYOUTS[graph] = Layout(plan.rules, plan.channels, graph.calls(), set(graph.outputs))
    return _LAYOUTS[graph]


def forward(graph: Graph, scales: dict[str, np.ndarray], whole: Set[Node] = frozenset()) -> Plan:
    """The plan as far as constants are known: what `analyse` goes backward from.

    Args:
        graph, scales: As in `analyse`.
        whole: Nodes that are to keep all their channels.
    """
    layout, refused = _layout(graph), set[Node]()
    while True:
        attachment = attach(graph, scales, layout, refused)
        plan = _constants(graph, attachment, whole)
        takers = {*attachment.after, *attachment.before}
        lost = {node for node in takers if is_opaque(plan.rules[node])}
        if not lost:
            return plan
        refused |= lost


def _constants(graph: Graph, attachment: Attachment, whole: Set[Node] = frozenset()) -> Plan:
    """Runs constants forward until the calls of shared layers agree on their inputs."""
    shared = {
        name: nodes
        for name, nodes in graph.calls().items()
        if len(nodes) > 1
        and getattr(nodes[0].operation, "weights", None)
        and not isinstance(nodes[0].operation, Gate)
    }
    agreed: dict[str, np.ndarray | None] = dict.fromkeys(shared)
    bound = bound_joins(graph) | whole
    while True:
        plan = Plan(graph, {}, {}, {}, {}, set())
        for value in graph.inputs:
            plan.channels[value] = all_live(value)
        for node in graph.nodes:
            inputs = [plan.channels[value] for value in node.inputs]
            if node.operation_name in shared:
                inputs = _restricted(inputs, agreed[node.operation_name])
            call = Call(
                node,
                inputs,
                factor=attachment.after.get(node),
                input_factor=attachment.before.get(node),
                scale=attachment.left.get(node),
            )
            rule = rule_for(call, whole=node in bound)
            call.outputs = rule.constants(call)
            plan.calls[node], plan.rules[node] = call, rule
            plan.channels.update(zip(node.outputs, call.outputs, strict=True))
        found = {name: _agreement(plan, nodes) for name, nodes in shared.items()}
        if all(_same(found[name], agreed[name]) for name in shared):
            return plan
        agreed = found


def _restricted(inputs, agreed):
    """The first input with only the constants that all calls of the shared layer agree on."""
    if inputs[0] is None:
        return inputs
    constants = np.full(inputs[0].count, np.nan) if agreed is None else agreed
    return [Channels(inputs[0].axis, constants), *inputs[1:]]


def _agreement(plan: Plan, nodes: list[Node]) -> np.ndarray | None:
    channels = [plan.channels[node.inputs[0]] for node in nodes]
    columns = [c.constants for c in channels if c is not None]
    if len(columns) < len(nodes) or len({len(column) for column in columns}) > 1:
        return None
    same = np.all([column == columns[0] for column in columns], axis=0)
    return np.where(same, columns[0], np.nan)


def _same(a, b) -> bool:
    if b is None:
        return a is None or bool(np.isnan(a).all())
    return np.array_equal(a, b, equal_nan=True)


class _Backward:
    """Runs need backward, until the calls of shared layers agree on what they make and read."""

    def __init__(self, plan: Plan, align: str, prices: AlignPrices, undivided: Undivided | None):
        self.plan = plan
        self.undivided = undivided
        self.taking = Taking(plan, prices, chooses=align == "auto")
        self.extension = Extension(plan, align, prices, self.taking)
        self.shared = {
            name: nodes
            for name, nodes in plan.graph.calls().items()
            if len(nodes) > 1 and plan.rules[nodes[0]].stateful
        }
        self.common: dict[str, list[np.ndarray]] = {}

    def run(self):
        while self._pass() or self._grow():
            pass

    def _grow(self) -> bool:
        """Whether what readers do asks for more than the walk made."""
        return self.taking.settle() if self.undivided is None else self.undivided.grow()

    def _pass(self) -> bool:
        """One walk from the outputs to the inputs; whether a shared layer grew on it."""
        plan, grew = self.plan, False
        wanted: dict[Value, np.ndarray | None] = {}
        plan.alive.clear()
        self.taking.reads.clear()
        for value in plan.graph.outputs:
            self._want(wanted, value, None)
        for node in reversed(plan.graph.nodes):
            call, rule = plan.calls[node], plan.rules[node]
            read = [value in wanted for value in node.outputs]
            produced = [
                self._produced(call, value, wanted.get(value), is_read)
                for value, is_read in zip(node.outputs, read, strict=True)
            ]
            if not any(is_read for is_read in read) or all(
                p is not None and not p.any() for p in produced
            ):
                call.wants = [None if c is None else np.zeros(c.count, bool) for c in call.inputs]
                call.produces = [
                    None if c is None else np.zeros(c.count, bool) for c in call.outputs
                ]
                continue
            if node.operation_name in self.shared:
                grew |= self._join(node.operation_name, produced)
                produced = self.common[node.operation_name]
            plan.alive.add(node)
            call.wants = rule.wants(call, produced)
            call.produces = rule.produces(call, produced, call.wants)
            for position, (value, mask) in enumerate(zip(node.inputs, call.wants, strict=True)):
                self._want(wanted, value, mask, node, position)
            for value in node.masks:
                self._want(wanted, value, None)
        self._hold()
        return grew

    def _want(self, wanted, value: Value, mask, node: Node | None = None, position: int = 0):
        """Notes that a call, or with `None` an output or mask, wants channels of a tensor."""
        channels = self.plan.channels[value]
        if channels is None:
            wanted[value] = None
            return
        mask = np.ones(channels.count, bool) if mask is None else mask
        before = wanted.get(value)
        if mask.any():
            self.taking.reads.setdefault(value, []).append(Read(node, position, mask))
        if mask.any() or before is not None:
            wanted[value] = mask.copy() if before is None else before | mask

    def _produced(self, call: Call, value: Value, wanted, is_read: bool):
        channels = self.plan.channels[value]
        if channels is None:
            return None
        if not is_read:
            return np.zeros(channels.count, bool)
        if self.undivided is not None:
            return self.undivided.produced(value, wanted)
        reads, least = self.taking.reads.get(value, []), self.taking.least(value)
        made = wanted & channels.live
        if (wanted & ~made).any() and self.extension.is_better(value, wanted, reads):
            made = wanted
        return made if least is None or not made.any() else made | least

    def _join(self, name: str, produced) -> bool:
        known = self.common.get(name)
        if known is None:
            self.common[name] = produced
            return len(self.shared[name]) > 1
        joined = [a if a is None else a | b for a, b in zip(known, produced, strict=True)]
        self.common[name] = joined
        return any(
            a is not None and not np.array_equal(a, b) for a, b in zip(known, joined, strict=True)
        )

    def _hold(self):
        plan = self.plan
        for value in plan.graph.inputs:
            channels = plan.channels[value]
            plan.held[value] = None if channels is None else np.ones(channels.count, bool)
        for node in plan.graph.nodes:
            plan.held.update(zip(node.outputs, plan.calls[node].produces, strict=True))
