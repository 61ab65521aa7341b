"""Optimizers that Keras does not have."""

from keras_nas.optimizers.apg import APGNAG, SparseValues

__all__ = ["APGNAG", "SparseValues"]
