"""An optimizer's updates of variables of a shape, traced once for several of them.

The optimizer of a deep network writes one formula into the graph for every weight. Its graph stays
small if the formula for a few of them is a function of the variables and of their slots.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import keras
import tensorflow as tf

from keras_nas.training.stand_ins import standing_for

TOGETHER = 8
"""Variables that one call of a traced update moves."""


def trace_alike_updates_once(optimizer: keras.optimizers.Optimizer) -> None:
    """Lets an optimizer call one traced update for all of its variables that are alike.

    Values are the optimizer's. Where several replicas share a step, updates stay as they are.

    Args:
        optimizer: A Keras optimizer whose `update_step` reads no variable but the one it moves,
            that one's slots and what is the same for all.
    """
    optimizer._backend_update_step = _AlikeUpdates(optimizer)


class _AlikeUpdates:
    """Takes the place of the part of an optimizer that calls `update_step` for each variable."""

    def __init__(self, optimizer: keras.optimizers.Optimizer):
        self._optimizer = optimizer
        self._each = optimizer._backend_update_step
        self._function = tf.function(self._update, autograph=False)
        self._indices: list[int] = []

    def __call__(self, gradients, variables, learning_rate):
        rate = getattr(learning_rate, "value", learning_rate)
        pairs = list(zip(gradients, variables, strict=True))
        several = tf.distribute.get_strategy().num_replicas_in_sync > 1
        groups, rest = ([], pairs) if several else _alike(pairs)
        for group in groups:
            moved = [variable.value for _, variable in group]
            self._indices = [self._optimizer._get_variable_index(each) for each in moved]
            slots = [slot.value for slot in self._slots()]
            self._function([gradient for gradient, _ in group], moved, slots, rate)
        if rest:
            self._each([pair[0] for pair in rest], [pair[1] for pair in rest], learning_rate)

    def _update(self, gradients, variables, slots, learning_rate):
        with standing_for(self._slots(), slots), self._known(variables):
            for gradient, variable in zip(gradients, variables, strict=True):
                self._optimizer.update_step(gradient, variable, learning_rate)

    def _slots(self) -> list[keras.Variable]:
        """The optimizer's variables for the variables of the present indices."""
        count = len(self._optimizer._trainable_variables)
        lists = [
            held
            for name, held in vars(self._optimizer).items()
            if isinstance(held, list) and len(held) == count
            if name not in ("_variables", "_trainable_variables", "_accumulated_gradients")
        ]
        found = [held[index] for held in lists for index in self._indices]
        return [slot for slot in found if isinstance(slot, keras.Variable)]

    @contextlib.contextmanager
    def _known(self, variables: Sequence[tf.Variable]) -> Iterator[None]:
        """While open, the optimizer takes arguments for the variables of the present indices."""
        own = self._optimizer._trainable_variables_indices
        keys = [self._optimizer._var_key(variable) for variable in variables]
        self._optimizer._trainable_variables_indices = {
            **own,
            **dict(zip(keys, self._indices, strict=True)),
        }
        try:
            yield
        finally:
            self._optimizer._trainable_variables_indices = own


def _alike(pairs: list) -> tuple[list[list], list]:
    """Groups of `TOGETHER` gradients and variables of one shape and dtype, and those left over."""
    kinds: dict[tuple, list] = {}
    for gradient, variable in pairs:
        dense = isinstance(gradient, tf.Tensor)
        kind = (tuple(variable.shape), variable.dtype, dense)
        kinds.setdefault(kind, []).append((gradient, variable))
    groups, rest = [], []
    for (_, _, dense), members in kinds.items():
        whole = len(members) // TOGETHER * TOGETHER if dense else 0
        groups += [members[i : i + TOGETHER] for i in range(0, whole, TOGETHER)]
        rest += members[whole:]
    return groups, rest
