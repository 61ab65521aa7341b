"""The costs of one operation at given shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from keras import layers

from keras_nas.costs import layer_formulas  # noqa: F401  (its formulas register)
from keras_nas.costs.costs import LayerCosts
from keras_nas.costs.formulas import Call, Counts, find
from keras_nas.costs.free_operations import is_free_op, is_view
from keras_nas.errors import KerasNasError
from keras_nas.layers import Gate


def layer_costs(
    operation: Any,
    input_shapes: Sequence[Sequence[int | None]],
    output_shapes: Sequence[Sequence[int | None]],
    *,
    groups: int | None = None,
    use_bias: bool | None = None,
    input_dtypes: Sequence[str] | None = None,
    output_dtypes: Sequence[str] | None = None,
) -> LayerCosts:
    """What one call of `operation` costs, from its configuration and the shapes alone.

    No weight is looked at (but for layers that no formula knows), so the costs of a layer that is
    not built yet, with fewer channels, come out of its present self and the shapes to be:

    ```python
    conv = keras.layers.Conv2D(64, 3, padding="same")
    layer_costs(conv, [(None, 32, 32, 10)], [(None, 32, 32, 7)]).params  # 3 · 3 · 10 · 7 + 7
    ```

    Args:
        operation: A `keras.layers.Layer` or an operation of `keras.ops`.
        input_shapes, output_shapes: One shape a tensor, batch axis included; None stands for a
            batch of 1 on the first axis, and is refused elsewhere.
        groups: Of a convolution, instead of its own.
        use_bias: Whether there is a bias, instead of what the layer says.
        input_dtypes, output_dtypes: Of the tensors; by default what the layer computes in.

    Returns:
        `LayerCosts`; nothing at all for gates. Where no formula knows the operation, `counted` is
        False, `macs` is 0, and `params` and `state` are read off the layer's weights.

    Raises:
        KerasNasError: If a shape is open.
    """
    if isinstance(operation, Gate):
        return LayerCosts()
    inputs = [closed_shape(shape, operation.name) for shape in input_shapes]
    outputs = [closed_shape(shape, operation.name) for shape in output_shapes]
    counts = _counts(Call(operation, inputs, outputs, groups, use_bias))
    counted = counts is not None
    if counts is None:
        counts = _weights_of(operation)
    if is_view(operation):
        return LayerCosts(params=counts.params, state=counts.state, counted=counted)
    written = _bytes(outputs, output_dtypes, operation)
    weights = (counts.params + counts.state) * itemsize(_weight_dtype(operation))
    return LayerCosts(
        macs=counts.macs,
        params=counts.params,
        state=counts.state,
        activation_memory=written,
        memory_access=_bytes(inputs, input_dtypes, operation) + written + weights,
        counted=counted,
    )


def itemsize(dtype: str) -> int:
    """Bytes of one value."""
    return tf.dtypes.as_dtype(dtype).size


def closed_shape(shape: Sequence[int | None], owner: str) -> tuple[int, ...]:
    """The shape with 1 for an open batch.

    Raises:
        KerasNasError: If another size is open; `owner` names the tensor's layer in the message.
    """
    sizes = [1 if axis == 0 and size is None else size for axis, size in enumerate(shape)]
    known = tuple(size for size in sizes if size is not None)
    if len(known) < len(sizes):
        raise KerasNasError(
            f"Shapes must be known but for the batch, to count layer '{owner}': build or read the "
            f"model at fixed sizes. Received: {tuple(shape)}"
        )
    return known


def _counts(call: Call) -> Counts | None:
    formula = find(call.operation)
    if formula is not None:
        return formula(call)
    return Counts() if is_free_op(call.operation) else None


def _weights_of(operation: Any) -> Counts:
    """Learned and kept values of a layer that no formula knows, each variable once.

    Gates inside it do not count.
    """
    if not isinstance(operation, layers.Layer):
        return Counts()
    found = [layer for layer in operation._flatten_layers() if not isinstance(layer, Gate)]
    learned = {id(v): v for layer in found for v in layer._trainable_variables}
    kept = {id(v): v for layer in found for v in layer._non_trainable_variables}
    return Counts(
        params=sum(math.prod(variable.shape) for variable in learned.values()),
        state=sum(math.prod(variable.shape) for variable in kept.values()),
    )


def _bytes(shapes, dtypes, operation) -> int:
    if dtypes is None:
        dtypes = [getattr(operation, "compute_dtype", None) or "float32"] * len(shapes)
    return sum(
        math.prod(shape) * itemsize(dtype) for shape, dtype in zip(shapes, dtypes, strict=True)
    )


def _weight_dtype(operation) -> str:
    return getattr(operation, "variable_dtype", None) or "float32"
