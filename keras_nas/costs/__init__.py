"""What a network costs: macs, flops, params, activation memory, memory access, milliseconds."""

from keras_nas.costs.align_prices import AlignPrices
from keras_nas.costs.alignment import Alignment
from keras_nas.costs.arena import arena_bytes
from keras_nas.costs.costs import Costs, LayerCosts
from keras_nas.costs.count import count, count_graph
from keras_nas.costs.formulas import Call, Counts, for_layers
from keras_nas.costs.latency_condition import Condition
from keras_nas.costs.latency_operations import TimedOperation, timed_operations
from keras_nas.costs.latency_table import LatencyTable
from keras_nas.costs.layer_costs import layer_costs
from keras_nas.costs.table_prices import align_prices_of
from keras_nas.costs.tflite_size import tflite_bytes

__all__ = [
    "AlignPrices",
    "Alignment",
    "Call",
    "Condition",
    "Costs",
    "Counts",
    "LatencyTable",
    "LayerCosts",
    "TimedOperation",
    "align_prices_of",
    "arena_bytes",
    "count",
    "count_graph",
    "for_layers",
    "layer_costs",
    "tflite_bytes",
    "timed_operations",
]
