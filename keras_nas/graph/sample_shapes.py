"""The shape of a value for one sample of the model's input, or for several."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import keras

from keras_nas.graph.ir import Node, Value, map_values
from keras_nas.graph.kinds import kind

Shape = tuple[int | None, ...]

_FOUND: WeakKeyDictionary[Value, dict[int, Shape]] = WeakKeyDictionary()


def sample_shape(value: Value, samples: int = 1) -> Shape:
    """The shape of a value when `samples` samples are given to inputs of an open batch.

    It is not always the static shape with `samples` for its open batch: windows folded into the
    batch make more rows of a sample, and a transposed batch lies on another axis. Sizes in space
    that the model leaves open stay `None`.

    Worked example: (None, 8, 8, 3) reshaped to (-1, 16, 3) is (4, 16, 3) for one sample.
    """
    pending = [value]
    while pending:
        last = pending[-1]
        known = _FOUND.setdefault(last, {})
        if samples in known:
            pending.pop()
        elif last.producer is None:
            known[samples] = _with_batch(last.shape, samples)
        else:
            missing = [v for v in last.producer.inputs if samples not in _FOUND.get(v, {})]
            if not missing:
                _find(last.producer, samples)
            pending += missing
    return _FOUND[value][samples]


def output_spec(node: Node, samples: int | None = None) -> Any:
    """The Keras tensors that a call gives, for its inputs as they are or for `samples` samples."""

    def stand_in(value: Value):
        shape = value.shape if samples is None else sample_shape(value, samples)
        return keras.KerasTensor(shape, dtype=value.dtype)

    args, kwargs = map_values(stand_in, (node.args, node.kwargs))
    return node.operation.compute_output_spec(*args, **kwargs)


def _find(node: Node, samples: int):
    """Fills in the outputs of a call whose inputs are known."""
    if _leaves_batch_alone(node, samples):
        shapes = [_with_batch(value.shape, samples) for value in node.outputs]
    else:
        specs = keras.tree.flatten(output_spec(node, samples))
        shapes = [tuple(spec.shape) for spec in specs]
    for value, shape in zip(node.outputs, shapes, strict=True):
        _FOUND.setdefault(value, {})[samples] = shape


def _leaves_batch_alone(node: Node, samples: int) -> bool:
    """Whether it is a layer of Keras' own on inputs with the batch in front: the output is such."""
    name = kind(node.operation)
    return (
        bool(name)
        and not name.startswith("ops.")
        and name != "Lambda"
        and all(_FOUND[v][samples] == _with_batch(v.shape, samples) for v in node.inputs)
        and all(None not in value.shape[1:] for value in [*node.inputs, *node.outputs])
    )


def _with_batch(shape: Shape, samples: int) -> Shape:
    return tuple(samples if n == 0 and size is None else size for n, size in enumerate(shape))
