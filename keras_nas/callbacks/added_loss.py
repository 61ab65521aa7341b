"""A term that a callback adds to the loss."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_nas.errors import UsageError
from keras_nas.layers import Gate


class AddedLoss(keras.callbacks.Callback):
    """Base of the callbacks that add a term to the model's losses while `fit` runs.

    A subclass sets `gates` in its `on_train_begin`, before this one's, and gives `term`. The term
    is the regulariser of a gate's logits, so Keras treats it as any regulariser: it is in
    `model.losses`, in the training loss and the validation loss, divided over the replicas of a
    strategy, and scaled under mixed precision.

    Attributes:
        gates: The gates that `term` is about.
    """

    gates: list[Any]

    def term(self):
        """What is added: a float32 scalar, differentiable in the gates' logits."""
        raise NotImplementedError(f"{type(self).__name__} must define `term`.")

    def on_train_begin(self, logs=None):
        carrier = _carrier(self.gates, self.model.name)
        if not isinstance(carrier.regularizer, _Terms):
            carrier.regularizer = _Terms(carrier.regularizer)
        carrier.regularizer.add(self)
        self._trace_anew()

    def on_train_end(self, logs=None):
        carrier = _carrier(self.gates, self.model.name)
        terms = carrier.regularizer
        del terms.added[self]
        if not terms.added:
            carrier.regularizer = terms.own
        self._trace_anew()

    def _trace_anew(self) -> None:
        """Keras keeps what it has traced, with the losses of that time."""
        self.model.make_train_function(force=True)
        self.model.make_test_function(force=True)


class _Terms:
    """The regulariser of a gate's logits: its own and what callbacks add.

    A fit that ended by an exception leaves its callbacks here; they go with the next fit's.
    """

    def __init__(self, own: Callable[[Any], Any] | None):
        self.own = own
        self.added: weakref.WeakKeyDictionary[AddedLoss, bool] = weakref.WeakKeyDictionary()

    def add(self, callback: AddedLoss) -> None:
        for other in [other for other in self.added if other.params is not callback.params]:
            del self.added[other]  # of another fit: all callbacks of one share their `params`
        self.added[callback] = True

    def __call__(self, logits):
        total = 0.0 if self.own is None else self.own(logits)
        for callback in self.added:
            total = total + callback.term()
        return ops.convert_to_tensor(total, "float32")


def _carrier(gates: list[Gate], model_name: str) -> Any:
    """The logits that carry the terms: the first that are trained."""
    for gate in gates:
        if gate.logits.trainable:
            return gate.logits
    raise UsageError(
        f"No gate of '{model_name}' that is in mode 'soft' is trainable. Set `trainable` of the "
        "gates to True before `compile`."
    )
