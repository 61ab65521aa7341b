"""What a network costs: macs, flops, params, activation memory, memory access."""

from keras_nas.costs.costs import Costs, LayerCosts
from keras_nas.costs.count import count, count_graph
from keras_nas.costs.formulas import Call, Counts, for_layers
from keras_nas.costs.layer_costs import layer_costs

__all__ = [
    "Call",
    "Costs",
    "Counts",
    "LayerCosts",
    "count",
    "count_graph",
    "for_layers",
    "layer_costs",
]
