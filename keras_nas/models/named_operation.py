"""Names for the `keras.ops` calls of a backbone."""

from __future__ import annotations

import keras


def name_operation(tensor: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Names the op that made `tensor`, and returns `tensor`.

    `keras.ops` takes no names: it counts (`pad`, `pad_1`, ...) through the whole process, so that
    two builds of one backbone would differ.
    """
    tensor._keras_history.operation.name = name
    return tensor
