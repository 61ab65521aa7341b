"""Training a deep network in less memory: activations are computed again when gradients need them.

Keras has `keras.RematScope`, which works layer by layer while a model is built; here a model that
is already there is cut into segments, so that only what crosses a cut is kept.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator

import keras
import tensorflow as tf

from keras_nas.errors import KerasNasError
from keras_nas.graph import read


class Recomputed:
    """A functional model that keeps only the tensors at its cuts from the forward pass.

    A cut is a tensor that every way from the input to the output passes: the tensors between the
    blocks of a DSO network, of a ResNet or a MobileNet. Between two cuts, activations are computed
    a second time in the backward pass. Values and gradients are those of the model; moving
    statistics of BatchNormalization move once.

    Example:

    ```python
    forward = Recomputed(model)
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
                f"`recompute` needs a model with one input and one output. Received: "
                f"'{model.name}' with {len(model.inputs)} and {len(model.outputs)}"
            )
        for layer in model.layers:
            if getattr(layer, "rate", 0) and hasattr(layer, "seed_generator"):
                raise KerasNasError(
                    f"`recompute` cannot repeat random numbers. Received: layer '{layer.name}' of "
                    f"the type {type(layer).__name__}"
                )
        self.segments = _segments(model)

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


def _segments(model: keras.Model) -> list[keras.Model]:
    """Models between neighbouring cuts, over the model's own layers."""
    tensors = [model.inputs[0], *_cut_tensors(model), model.outputs[0]]
    return [
        keras.Model(start, end, name=f"segment_{index}")
        for index, (start, end) in enumerate(itertools.pairwise(tensors))
    ]


def _cut_tensors(model: keras.Model) -> list[keras.KerasTensor]:
    """The outputs of joins (two inputs or more) that every way passes, in order."""
    graph = read(model)
    last_reader = {}
    for position, node in enumerate(graph.nodes):
        for value in (*node.inputs, *node.masks):
            last_reader[value] = position
    open_values = set(graph.inputs)
    cuts = []
    for position, node in enumerate(graph.nodes):
        open_values = {value for value in open_values if last_reader.get(value, -1) > position}
        open_values.update(value for value in node.outputs if value in last_reader)
        masked = any(value.masked for value in open_values)
        if len(open_values) == 1 and len(node.inputs) > 1 and not masked:
            layer = model.get_layer(node.operation_name)
            cuts.append(layer.output)
    return [tensor for tensor in cuts if tensor is not model.outputs[0]]
