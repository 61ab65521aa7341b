"""The layers that carry what a search learns."""

from keras_nas.layers.gate import Gate
from keras_nas.layers.scaled_edge import ScaledEdge
from keras_nas.layers.scaled_sigmoid_gate import ScaledSigmoidGate
from keras_nas.layers.ste_gate import STEGate

__all__ = ["Gate", "STEGate", "ScaledEdge", "ScaledSigmoidGate"]
