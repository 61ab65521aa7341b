"""Putting gates into models, and finding them again."""

from keras_nas.gates.find import find, set_mode
from keras_nas.gates.insert import insert

__all__ = ["find", "insert", "set_mode"]
