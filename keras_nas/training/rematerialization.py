"""Training a deep network in less memory: activations are computed again when gradients need them.

Keras has `keras.RematScope`, which works layer by layer while a model is built; here a model that
is already there is cut into parts, so that only what crosses a cut is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_nas.errors import UsageError
from keras_nas.graph.read import as_functional
from keras_nas.layers.edge_scales import factors_together
from keras_nas.training.alike_segments import description
from keras_nas.training.parts import Part, parts_of, whole
from keras_nas.training.stand_ins import standing_for

RANDOM_OPERATIONS = frozenset(
    "Multinomial ParameterizedTruncatedNormal RandomGamma RandomPoissonV2 RandomShuffle "
    "RandomStandardNormal RandomUniform RandomUniformInt TruncatedNormal".split()
)
"""Operations of TensorFlow that give other numbers each time, unlike Keras' with their seeds."""


class Rematerialized:
    """A functional model that keeps only the tensors at its cuts from the forward pass.

    Between two cuts, activations are computed a second time in the backward pass; behind the last
    cut they are kept, since they are needed at once. Values and gradients are those of the model,
    to float rounding. Moving statistics move once, seeds advance once, and the second computation
    draws the same random numbers. Parts that are alike are traced once.

    Example:

    ```python
    forward = Rematerialized(model)
    with tf.GradientTape() as tape:
        outputs = forward(images, training=True)
    ```

    Args:
        model: A functional or Sequential model. A model that is nested in it is not cut.
        segments: The model in pieces, one behind the other; by default `parts_of` cuts it.

    Raises:
        UsageError: If the model is no functional one, or, with several replicas, has a
            BatchNormalization that is synchronized. When it is called: if a layer draws random
            numbers that cannot be drawn again.
    """

    def __init__(self, model: keras.Model, segments: Sequence[keras.Model] | None = None):
        functional = as_functional(model)
        if functional is None:
            raise UsageError(
                "`rematerialize` needs a functional or Sequential model, which can be cut. "
                f"Received: '{model.name}' of the type {type(model).__name__}"
            )
        _check_statistics(model)
        self._model = functional
        self._pieces = list(segments or ())
        self.parts = [whole(each) for each in self._pieces] or parts_of(functional)
        kinds: dict[str, _Recomputed] = {}
        self._calls = []
        for index, part in enumerate(self.parts[:-1]):
            found = description(self._pieces[index]) if self._pieces else None
            kind, variables = found or (part.name, part.variables)
            self._calls.append((kinds.setdefault(kind, _Recomputed(part, variables)), variables))

    def __call__(self, inputs, training: bool = False):
        """The model's output for `inputs`."""
        tensors = self._model._standardize_inputs(inputs)
        for part in self.parts:
            part._clear_losses()
        if self._pieces:
            for call, variables in self._calls:
                tensors = call(tensors, variables, training)
            return self.parts[-1](tensors, training=training)[0]
        held = {id(key): each for key, each in zip(self._model.inputs, tensors, strict=True)}
        for part, (call, variables) in zip(self.parts, self._calls, strict=False):
            results = call([held[id(key)] for key in part.reads], variables, training)
            held.update(zip(map(id, part.gives), results, strict=True))
        last = self.parts[-1]
        results = last([held[id(key)] for key in last.reads], training=training)
        held.update(zip(map(id, last.gives), results, strict=True))
        outputs = [held[id(key)] for key in self._model.outputs]
        return keras.tree.pack_sequence_as(self._model._outputs_struct, outputs)


class _Recomputed:
    """A part as a function of tensors and of its variables' values, which moves nothing itself."""

    def __init__(self, part: Part, variables: Sequence[keras.Variable]):
        self._part = part
        self._variables = variables
        self._moved: dict[bool, list[int]] = {}
        self._losing: dict[bool, list[keras.layers.Layer]] = {}
        self._once = tf.function(self._forward, autograph=False)
        self._again = tf.function(self._backward, autograph=False)

    def __call__(self, tensors, variables: Sequence[keras.Variable], training: bool):
        """The part's outputs with `variables`, which move as the part moves its own."""
        moves: list[tf.Tensor] = []

        @tf.custom_gradient
        def run(*arguments):
            constants = [tf.stop_gradient(each) for each in arguments]  # no tape keeps what is in
            outputs, losses, moved = self._once(*self._split(constants, len(tensors)), training)
            moves.extend(moved)

            def gradient(*gradients):
                split = self._split(arguments, len(tensors))
                return self._again(*split, _floats([*outputs, *losses], gradients), training)

            return [*outputs, *losses], gradient

        results = run(*tensors, *[tf.convert_to_tensor(each.value) for each in variables])
        for index, value in zip(self._moved[training], moves, strict=True):
            variables[index].assign(value)
        losses = results[len(self._part.gives) :]
        for layer, loss in zip(self._losing[training], losses, strict=True):
            layer.add_loss(loss)
        return results[: len(self._part.gives)]

    @staticmethod
    def _split(arguments, count: int) -> tuple[list, list]:
        return list(arguments[:count]), list(arguments[count:])

    def _forward(self, tensors, values, training):
        """Outputs, losses that layers add, and the new values of variables that move."""
        layers = self._part._flatten_layers(include_self=False)
        with (
            standing_for(self._variables, values),
            keras.StatelessScope(collect_losses=True) as scope,
            factors_together(layers),
        ):
            outputs = self._part(tensors, training=training)
        _check_repeatable(tf.compat.v1.get_default_graph())
        if scope.state_mapping.keys() - set(map(id, self._variables)):
            names = ", ".join(layer.name for layer in layers)
            raise UsageError(
                "`rematerialize` cannot repeat what moves a variable of no layer, as "
                f"`keras.random` does without a seed. Received: one of the layers {names}"
            )
        self._losing[training] = [
            next(layer for layer in layers if id(loss) in layer._loss_ids) for loss in scope.losses
        ]
        found = map(scope.get_current_value, self._variables)
        moved = {index: value for index, value in enumerate(found) if value is not None}
        self._moved[training] = list(moved)
        return outputs, scope.losses, list(moved.values())

    def _backward(self, tensors, values, gradients, training):
        """The gradients of tensors and values, None where there is none."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tensors = [_after(tensor, gradients[0]) for tensor in tensors]
            learned = [variable.trainable for variable in self._variables]
            asked = [tensor if tensor.dtype.is_floating else None for tensor in tensors]
            asked += [value if yes else None for value, yes in zip(values, learned, strict=True)]
            tape.watch([each for each in asked if each is not None])
            with tf.control_dependencies(gradients):
                outputs, losses, _ = self._forward(tensors, values, training)
            reached = _floats([*outputs, *losses], [*outputs, *losses])
        sources = [each for each in asked if each is not None]
        found = iter(tape.gradient(reached, sources, gradients, unconnected_gradients="zero"))
        return [None if each is None else tf.convert_to_tensor(next(found)) for each in asked]


def _floats(outputs: Sequence[tf.Tensor], values: Sequence[Any]) -> list[Any]:
    """Those of `values` whose output has a gradient."""
    pairs = zip(outputs, values, strict=True)
    return [value for output, value in pairs if output.dtype.is_floating]


def _after(tensor: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    """`tensor`, but not before `gradient` is there: else all would be computed again at once.

    As `tf.recompute_grad` does it: XLA, which knows no order but that of data, keeps to it as well.
    TensorFlow's own optimizer may see through it, hence the control dependencies beside.
    """
    if not (tensor.dtype.is_floating or tensor.dtype.is_integer):
        with tf.control_dependencies([gradient]):
            return tf.identity(tensor)
    first = tf.cast(tf.reduce_max(tf.reshape(gradient, [-1])[:1]), tf.bool)
    return tensor + tf.cast(tf.where(first == first, 0.0, float("nan")), tensor.dtype)


def _check_statistics(model: keras.Model) -> None:
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    for layer in model._flatten_layers(include_self=False):
        if replicas > 1 and getattr(layer, "synchronized", False):
            raise UsageError(
                "`rematerialize` cannot compute again what replicas compute together. Received: "
                f"layer '{layer.name}' with synchronized=True, and {replicas} replicas"
            )


def _check_repeatable(graph: tf.Graph) -> None:
    for operation in graph.get_operations():
        if operation.type in RANDOM_OPERATIONS:
            raise UsageError(
                "`rematerialize` cannot repeat random numbers without a seed of Keras. Received: "
                f"{operation.type} ({operation.name}); draw them by `keras.random` with a "
                "`keras.random.SeedGenerator` of the layer"
            )
