"""Training a deep network in less memory: activations are computed again when gradients need them.

Keras has `keras.RematScope`, which works layer by layer while a model is built; here a model that
is already there is cut into segments, so that only what crosses a cut is kept.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import keras
import tensorflow as tf

from keras_nas.errors import KerasNasError
from keras_nas.training.segments import segments_of


class Rematerialized:
    """A functional model that keeps only the tensors at its cuts from the forward pass.

    Between two cuts (see `segments_of`), activations are computed a second time in the backward
    pass. Values and gradients are those of the model; moving statistics of BatchNormalization move
    once.

    Example:

    ```python
    forward = Rematerialized(model)
    with tf.GradientTape() as tape:
        outputs = forward(images, training=True)
    ```

    Args:
        model: A functional model with one input and one output.

    Raises:
        KerasNasError: If the model has more inputs or outputs, or draws random numbers (dropout),
            which the second computation could not repeat.
    """

    def __init__(self, model: keras.Model):
        if len(model.inputs) != 1 or len(model.outputs) != 1:
            raise KerasNasError(
                f"`rematerialize` needs a model with one input and one output. Received: "
                f"'{model.name}' with {len(model.inputs)} and {len(model.outputs)}"
            )
        for layer in model.layers:
            if getattr(layer, "rate", 0) and hasattr(layer, "seed_generator"):
                raise KerasNasError(
                    f"`rematerialize` cannot repeat random numbers. Received: layer '{layer.name}' "
                    f"of the type {type(layer).__name__}"
                )
        self.segments = segments_of(model)

    def __call__(self, inputs, training: bool = False):
        """The model's output for `inputs`."""
        for segment in self.segments:
            inputs = tf.recompute_grad(_twice(segment, training))(inputs)
        return inputs


def _twice(segment: keras.Model, training: bool) -> Callable:
    """`segment` as a function of which only the first call moves statistics."""
    calls = 0

    def forward(x):
        nonlocal calls
        calls += 1
        if calls == 1:
            return segment(x, training=training)
        with _held_statistics(segment):
            return segment(x, training=training)

    return forward


@contextlib.contextmanager
def _held_statistics(model: keras.Model) -> Iterator[None]:
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
