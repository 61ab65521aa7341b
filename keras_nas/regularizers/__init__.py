"""What a search adds to the loss."""

from keras_nas.regularizers.adaptive_gammas import adaptive_flops, adaptive_latency, adaptive_mac
from keras_nas.regularizers.gate_sum import GateSum
from keras_nas.regularizers.priced_sum import PricedSum
from keras_nas.regularizers.resource import RESOURCES, Resource

__all__ = [
    "RESOURCES",
    "GateSum",
    "PricedSum",
    "Resource",
    "adaptive_flops",
    "adaptive_latency",
    "adaptive_mac",
]
