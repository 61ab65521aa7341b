"""What a search adds to the loss."""

from keras_nas.regularizers.adaptive import adaptive_flops, adaptive_latency, adaptive_mac
from keras_nas.regularizers.gate_sum import GateSum

__all__ = ["GateSum", "adaptive_flops", "adaptive_latency", "adaptive_mac"]
