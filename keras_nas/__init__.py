"""keras_nas: learn which channels, operations and connections a network needs, and rebuild it."""

from keras_nas import layers

__version__ = "0.1.0"
__all__ = ["layers"]
