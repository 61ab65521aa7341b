"""Optimizers that Keras does not have."""

from keras_nas.optimizers.apg import APGNAG
from keras_nas.optimizers.sparse_values import SparseValues

__all__ = ["APGNAG", "SparseValues"]
