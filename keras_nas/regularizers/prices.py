"""What a layer costs as a function of how many channels it reads and writes."""

from __future__ import annotations

import dataclasses

from keras_nas.costs import LatencyTable
from keras_nas.costs.latency_operations import timed_operations
from keras_nas.costs.layer_costs import layer_costs
from keras_nas.graph import Graph, Node
from keras_nas.surgery.plan import Plan
from keras_nas.surgery.rules import is_opaque
from keras_nas.surgery.rules.base import Rule
from keras_nas.surgery.rules.convolution import DenseLike

_PRODUCTS = ("conv", "transposed_conv", "dense")


@dataclasses.dataclass(frozen=True)
class Price:
    """φ of Eq. (8): fixed + read · γ_in + written · γ_out + product · γ_in γ_out / groups.

    Attributes:
        fixed: The part that is there as long as the node is.
        read: For each channel read.
        written: For each channel written.
        product: For each pair of a channel read and a channel written.
        new_bias: For each channel written, where constants make a bias that the layer had not.
        groups: Of the full layer.
    """

    fixed: float = 0.0
    read: float = 0.0
    written: float = 0.0
    product: float = 0.0
    new_bias: float = 0.0
    groups: int = 1

    def __bool__(self) -> bool:
        return bool(self.fixed or self.read or self.written or self.product or self.new_bias)

    def plus(self, other: Price) -> Price:
        """The sum of two prices of one node."""
        return Price(
            self.fixed + other.fixed,
            self.read + other.read,
            self.written + other.written,
            self.product + other.product,
            self.new_bias + other.new_bias,
            self.groups,
        )


def counted_prices(plan: Plan, what: str) -> dict[Node, Price]:
    """The nodes that cost params, macs or flops, read off what their rules say (`Rule.costs`).

    A rule is asked at one and two channels; what it says must be linear in each. What always reads
    and makes all its channels has one price.

    Args:
        plan: The analysis of the gated graph with every gate open.
        what: An attribute of `LayerCosts`.

    Raises:
        KerasNasError: If a size is open.
    """
    prices = {node: _counted(plan, node, what) for node in plan.graph.nodes if node.inputs}
    return {node: price for node, price in prices.items() if price}


def _counted(plan: Plan, node: Node, what: str) -> Price:
    rule, call = plan.rules[node], plan.calls[node]
    dense = isinstance(rule, DenseLike)

    def at(read: int | None, written: int | None, use_bias: bool | None = None) -> float:
        shapes = [plan.sample_shape(value, read) for value in node.inputs]
        target = [plan.sample_shape(value, written) for value in node.outputs]
        if dense:  # its own `costs` are those of the present groups and constants
            costs = layer_costs(call.layer, shapes, target, groups=1, use_bias=use_bias)
        else:
            costs = rule.costs(call, shapes, target)
        return float(getattr(costs, what))

    if type(rule).wants is Rule.wants and type(rule).produces is Rule.produces:
        return Price(fixed=at(None, None))
    if not rule.reads_all_inputs:
        one, two = at(1, 1), at(2, 2)
        return Price(fixed=2 * one - two, written=two - one)
    one = at(1, 1)
    product = at(2, 2) - at(2, 1) - at(1, 2) + one
    read, written = at(2, 1) - one - product, at(1, 2) - one - product
    return Price(
        fixed=one - read - written - product,
        read=read,
        written=written,
        product=product,
        new_bias=at(1, 1, True) - at(1, 1, False) if dense and not call.layer.use_bias else 0.0,
        groups=getattr(call.layer, "groups", 1) if dense else 1,
    )


def timed_prices(
    plan: Plan, original: Graph, table: LatencyTable, dtype: str, threads: int, interpolate: bool
) -> dict[Node, Price]:
    """The nodes that cost time, read off a latency table.

    Linear in the channels: between the full width and nothing a kernel's tiles and ends of vectors
    are left out, as are the gathers that surgery writes at joins. `importance.Budget` counts all.

    Args:
        plan: The analysis of the gated graph with every gate open.
        original: The same network without its gates.
        table: Measured latencies.
        dtype, threads, interpolate: As in `LatencyTable.predict`.

    Raises:
        KerasNasError: If the table lacks a condition, or an operation's time is not known.
    """
    nodes = {node.name: node for node in plan.graph.nodes}
    prices: dict[Node, Price] = {}
    for operation in timed_operations(original, dtype, threads):
        node = nodes[operation.name]
        found = table.fit(operation.condition, interpolate, operation.in_channels)
        time = found(operation.flops, operation.out_channels, operation.ends(found.tile))
        work = time - found.intercept
        full_in, full_out = (plan.channels[value] for value in (node.inputs[0], node.outputs[0]))
        if is_opaque(plan.rules[node]) or full_in is None or full_out is None:
            price = Price(fixed=time)
        elif operation.condition.operation in _PRODUCTS:
            pairs = full_in.count * full_out.count
            price = Price(fixed=found.intercept, product=work / pairs)
        else:
            price = Price(fixed=found.intercept, written=work / full_out.count)
        prices[node] = prices.get(node, Price()).plus(price)
    return prices
