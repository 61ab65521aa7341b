"""Where the formulas of the layer families meet: registered by class, looked up by operation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras

Shape = tuple[int, ...]


class Counts(NamedTuple):
    """What a formula returns; see `LayerCosts`."""

    macs: int = 0
    params: int = 0
    state: int = 0


@dataclass(frozen=True)
class Call:
    """A call of an operation at given shapes; what a formula reads.

    Attributes:
        operation: The layer or op, for its configuration only.
        inputs, outputs: Shapes of the tensors, batch axis included, no `None` in them.
        groups, use_bias: Stand for the layer's own where they are not None.
    """

    operation: Any
    inputs: Sequence[Shape]
    outputs: Sequence[Shape]
    groups: int | None = None
    use_bias: bool | None = None

    @property
    def has_bias(self) -> bool:
        return self.operation.use_bias if self.use_bias is None else self.use_bias

    @property
    def channel_axis(self) -> int:
        return 1 if getattr(self.operation, "data_format", None) == "channels_first" else -1

    @property
    def channels_in(self) -> int:
        return self.inputs[0][self.channel_axis]

    @property
    def channels_out(self) -> int:
        return self.outputs[0][self.channel_axis]

    @property
    def positions_in(self) -> int:
        """Elements of a channel of the input, over batch and space."""
        return positions(self.inputs[0], self.channel_axis)

    @property
    def positions_out(self) -> int:
        """Elements of a channel of the output, over batch and space."""
        return positions(self.outputs[0], self.channel_axis)


Formula = Callable[[Call], Counts | None]

_OP_MODULES = ("keras.src.ops.", "keras.src.activations.")

_BY_LAYER: dict[type, Formula] = {}
_BY_OP_NAME: dict[str, Formula] = {}


def for_layers(*layer_types: type) -> Callable[[Formula], Formula]:
    """Decorator: the formula counts these layers, and subclasses that keep their `call`.

    A formula returns None where it cannot count a certain call.
    """

    def register(formula: Formula) -> Formula:
        _BY_LAYER.update(dict.fromkeys(layer_types, formula))
        return formula

    return register


def for_ops(*names: str) -> Callable[[Formula], Formula]:
    """Decorator: the formula counts the `keras.ops` operations of these class names."""

    def register(formula: Formula) -> Formula:
        _BY_OP_NAME.update(dict.fromkeys(names, formula))
        return formula

    return register


def find(operation: Any) -> Formula | None:
    """The formula that counts `operation`, or None where there is none.

    LoRA's matrices count as what they become, a part of the kernel; a quantised layer has no
    formula.
    """
    if is_op(operation):
        return _BY_OP_NAME.get(type(operation).__name__)
    if getattr(operation, "quantization_mode", None):
        return None
    for ancestor in type(operation).__mro__:
        formula = _BY_LAYER.get(ancestor)
        if formula is not None:
            return formula if _call_of(type(operation)) is _call_of(ancestor) else None
    return None


def _call_of(layer_type: Any) -> Any:
    return layer_type.call


def is_op(operation: Any) -> bool:
    """Whether `operation` is Keras' own, of `keras.ops` or `keras.activations`, and not a layer."""
    ours = type(operation).__module__.startswith(_OP_MODULES)
    return ours and not isinstance(operation, keras.layers.Layer)


def positions(shape: Shape, channel_axis: int = -1) -> int:
    """Number of elements of one channel."""
    axis = channel_axis % len(shape)
    return math.prod(shape[:axis]) * math.prod(shape[axis + 1 :])
