"""Variables that stand for others while a function is traced.

What is traced for one layer, or for one variable's update, serves all that are alike: the function
takes their variables as arguments.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import keras
import tensorflow as tf


@contextlib.contextmanager
def standing_for(
    variables: Sequence[keras.Variable], others: Sequence[tf.Variable]
) -> Iterator[None]:
    """While open, what reads or assigns one of `variables` does so to its stand-in in `others`."""
    own = [variable._value for variable in variables]
    _hold(variables, others)
    try:
        yield
    finally:
        _hold(variables, own)


def on_replica(variables: Sequence[keras.Variable]) -> list[tf.Variable]:
    """The TensorFlow variables of the replica whose context this is called in."""
    strategy = tf.distribute.get_strategy()
    found = []
    for variable in variables:
        handle = variable.value.handle
        local = strategy.experimental_local_results(variable.value)
        found += [each for each in local if each.handle is handle]
    return found


def _hold(variables, values) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable._value = value
