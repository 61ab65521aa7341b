"""Callbacks for `fit` on a gated model: searches inside Keras's own training."""

from keras_nas.callbacks.anneal_delta import AnnealDelta
from keras_nas.callbacks.gate_penalty import GatePenalty
from keras_nas.callbacks.resource_budget import ResourceBudget
from keras_nas.callbacks.stop_at_budget import StopAtBudget

__all__ = ["AnnealDelta", "GatePenalty", "ResourceBudget", "StopAtBudget"]
