"""First-order Taylor: how much the loss would change if a channel were closed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_nas.errors import UsageError
from keras_nas.graph import read
from keras_nas.graph.copy import GraphBuilder, copy_graph
from keras_nas.graph.ir import map_values
from keras_nas.importance.channel_paths import ChannelPaths
from keras_nas.importance.criteria import register

AVERAGES = ("example", "batch", "data")


@register
def taylor(
    model: keras.Model,
    data: Iterable[Any] | None = None,
    loss: Any = None,
    batches: int | None = None,
    over: str = "example",
) -> dict[str, np.ndarray]:
    """|Σ a · ∂L/∂a| of each channel a: first order of the loss's change when the channel is closed.

    Read at the gates: with a factor g behind a gate, at g = 1, ∂L/∂g = Σ a · ∂L/∂a over all places,
    and closing the channel takes g from 1 to 0. The model runs in inference mode and is not
    changed; a gate that is closed has the score 0.

    Args:
        model: A gated functional model, its gates in whatever modes.
        data: Batches `(inputs, targets)`; what follows the targets is not used.
        loss: A Keras loss (its reduction is not used), its name, or a function of
            `(targets, outputs)` that returns one number an example (further axes are averaged) or
            the mean over the batch.
        batches: How many batches are read; all by default.
        over: Where the sign is dropped before averaging: `"example"` (Molchanov et al., 2017),
            `"batch"`, or `"data"`, which is |∂L/∂g| of the mean loss over everything read: there
            the examples' contributions cancel, the more the better the network is trained.

    Returns:
        By the gate's name, float64 `(channels,)`.

    Raises:
        UsageError: If `data` or `loss` is missing, `data` is empty, or `over` is unknown.

    References:
        Molchanov et al., Pruning Convolutional Neural Networks for Resource Efficient Inference.
        Molchanov et al., Importance Estimation for Neural Network Pruning, section 3.1 (gates).
    """
    if data is None or loss is None:
        raise UsageError(
            "Criterion 'taylor' needs `data`, batches of (inputs, targets), and `loss`. "
            f"Received: data={data!r}, loss={loss!r}"
        )
    if over not in AVERAGES:
        raise UsageError(f"`over` must be one of {AVERAGES}. Received: over={over!r}")
    gradients = _Gradients(model, unreduced(loss))
    totals = {name: np.zeros(channels) for name, channels in gradients.channels.items()}
    examples = 0
    for batch in islice(data, batches):
        found = gradients(batch[0], batch[1])
        for name, by_example in found.items():
            total = np.abs(by_example) if over == "example" else by_example
            total = total.sum(axis=0)
            totals[name] += np.abs(total) if over == "batch" else total
        examples += len(next(iter(found.values())))
    if not examples:
        raise UsageError("`data` of criterion 'taylor' must have a batch or more. Received: none")
    return {name: np.abs(total) / examples for name, total in totals.items()}


def unreduced(loss: Any) -> Callable[[Any, Any], Any]:
    """The loss as a function that a distribution strategy or a reduction does not scale.

    Args:
        loss: A Keras loss, its name, or a function of `(targets, outputs)`.
    """
    loss = keras.losses.get(loss) if isinstance(loss, str) else loss
    return loss.call if isinstance(loss, keras.losses.Loss) else loss


class _Gradients:
    """∂ℓ/∂g by example: for each gate float64 `(examples, channels)`, of each example's own loss.

    A copy of the network has a factor for each example and channel behind each gate, as a further
    input.
    """

    def __init__(self, model: keras.Model, loss: Callable[[Any, Any], Any]):
        self.channels = {n: gate.channels for n, gate in ChannelPaths(model).gates.items()}
        self._loss = loss
        self._model, self._inputs = _with_factors(model, self.channels)
        self._step = tf.function(self._gradients, autograph=False, reduce_retracing=True)

    def __call__(self, inputs, targets) -> dict[str, np.ndarray]:
        targets = tf.nest.map_structure(tf.convert_to_tensor, targets)
        found = self._step(self._packed(inputs), targets)
        return {name: value.numpy().astype("float64") for name, value in found.items()}

    def _packed(self, inputs):
        """The inputs as tensors in the model's own structure, which Keras lets a batch differ from:
        one tensor for a list of one, a dict by name for a list."""
        wanted = keras.tree.flatten(self._inputs)
        by_name = isinstance(inputs, dict) and not isinstance(self._inputs, dict)
        flat = [inputs[x.name] for x in wanted] if by_name else keras.tree.flatten(inputs)
        return keras.tree.pack_sequence_as(self._inputs, [tf.convert_to_tensor(x) for x in flat])

    def _gradients(self, inputs, targets):
        examples = tf.shape(tf.nest.flatten(inputs)[0])[0]
        factors = {name: tf.ones((examples, count)) for name, count in self.channels.items()}
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(factors)
            outputs = self._model([inputs, factors], training=False)
            total = self._sum(self._loss(targets, outputs), examples)
        return tape.gradient(total, factors, unconnected_gradients="zero")

    @staticmethod
    def _sum(loss, examples):
        """The sum of the examples' losses, from one number an example or their mean."""
        loss = tf.cast(loss, tf.float32)
        if loss.shape.rank == 0:
            return loss * tf.cast(examples, tf.float32)
        return tf.reduce_sum(tf.reduce_mean(tf.reshape(loss, (examples, -1)), axis=1))


class _Factor(keras.layers.Layer):
    """Multiplies channel c of example b by `factors[b, c]`."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs, factors):
        rank = len(inputs.shape)
        shape = (-1, *[1] * (rank - 2), inputs.shape[-1])
        return inputs * ops.cast(ops.reshape(factors, shape), inputs.dtype)

    def compute_output_shape(self, inputs_shape, factors_shape):
        return inputs_shape


def _with_factors(model: keras.Model, channels: dict[str, int]) -> tuple[keras.Model, Any]:
    """A copy of the network, and the structure of its own inputs.

    The copy's inputs are `[its own, factors by gate's name]`.
    """
    graph = read(copy_graph(read(model), lambda node, tensors: tensors, model.name))
    builder = GraphBuilder(graph)
    factors = {
        name: keras.Input((count,), dtype="float32", name=f"{name}_factors")
        for name, count in channels.items()
    }
    for node in graph.nodes:
        args, kwargs = builder.arguments(node)
        results = keras.tree.flatten(node.operation(*args, **kwargs))
        if node.operation_name in factors:
            scale = _Factor(name=f"{node.name}_times_factors", dtype=node.operation.dtype_policy)
            results = [scale(results[0], factors[node.operation_name])]
        builder.tensors.update(zip(node.outputs, results, strict=True))
    inputs, outputs = map_values(
        builder.tensors.__getitem__, (graph.input_struct, graph.output_struct)
    )
    model = keras.Model([inputs, factors], outputs, name=f"{graph.name}_with_factors")
    return model, inputs
