"""Putting gates into models, finding them again, and setting them."""

from keras_nas.gates.apply import apply
from keras_nas.gates.find import find, learnable, set_mode
from keras_nas.gates.insert import insert
from keras_nas.gates.widen import close_new_operations, widen

__all__ = ["apply", "close_new_operations", "find", "insert", "learnable", "set_mode", "widen"]
