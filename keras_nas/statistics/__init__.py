"""What normalisation layers remember of the data."""

from keras_nas.statistics.reestimate import reestimate

__all__ = ["reestimate"]
