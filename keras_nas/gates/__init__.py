"""Putting gates into models, finding them again, and setting them."""

from keras_nas.gates.apply import apply
from keras_nas.gates.find import find, set_mode
from keras_nas.gates.insert import insert

__all__ = ["apply", "find", "insert", "set_mode"]
