"""The ranges of the activations in a tf_keras model with fake quantisation."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import tf_keras

_LEAST_RANGE = 2.0**-10


@dataclasses.dataclass(frozen=True)
class _Range:
    """The variables that hold what a layer's activations are quantised by.

    `before` says whether it is the layer's value before its activation function.
    """

    layer: Any
    before: bool
    least: Any
    largest: Any

    def size(self) -> float:
        """Returns the largest absolute value."""
        return max(float(np.max(np.abs(v.numpy()))) for v in (self.least, self.largest))

    def assign(self, least: float, largest: float) -> None:
        """Sets both ends; zero stays inside."""
        self.least.assign(np.full(self.least.shape, min(least, 0.0)))
        self.largest.assign(np.full(self.largest.shape, max(largest, 0.0)))


def start(quantized: Any, legacy: Any, inputs: list[np.ndarray]) -> None:
    """Starts the ranges at what a batch shows.

    The toolkit starts them at -6 to 6; it moves them by 1/1000 a step, and those of inputs only
    outwards. After a short training larger values would still be cut off, smaller ones be coarse.

    Args:
        quantized: The model with fake quantisation.
        legacy: The model that it was made of.
        inputs: The batch, one array for each input.
    """
    sources = {layer.name: layer for layer in legacy.layers if len(layer.inbound_nodes) == 1}
    wanted = []
    for range_ in _ranges(quantized):
        name = range_.layer.name.removeprefix("quant_")
        if name not in sources:  # a layer that quantises an input, which gives its tensor's name
            name = str(getattr(range_.layer.input, "name", "")).split(":")[0]
        if name in sources:
            wanted.append((range_, sources[name]))
    if not wanted:
        return
    tensors = [layer.input if range_.before else layer.output for range_, layer in wanted]
    values = tf_keras.Model(legacy.inputs, tensors)(
        inputs if len(inputs) > 1 else inputs[0], training=False
    )
    for (range_, layer), value in zip(wanted, values if len(wanted) > 1 else [values], strict=True):
        shown = _without_activation(layer, value) if range_.before else value
        range_.assign(float(np.min(shown)), float(np.max(shown)))


def widen_dead(quantized: Any) -> None:
    """Gives activations that training saw as 0 a range that the kernels can work with.

    See `export.calibration.widen_dead_ranges`; here the model's largest range tells what is too
    small.
    """
    ranges = list(_ranges(quantized))
    least = _LEAST_RANGE * max((range_.size() for range_ in ranges), default=0.0)
    for range_ in ranges:
        if range_.size() < least:
            range_.assign(0.0, least)


def _ranges(quantized: Any) -> Iterator[_Range]:
    for layer in quantized.layers:
        ends: dict[str, dict[str, Any]] = {}
        for variable in layer.weights:
            name = variable.name.split(":")[0].rsplit("/", 1)[-1]
            kind, _, end = name.rpartition("_")
            if end in ("min", "max") and "kernel" not in kind:
                ends.setdefault(kind, {})[end] = variable
        for kind, pair in ends.items():
            if len(pair) == 2:
                yield _Range(layer, kind == "pre_activation", pair["min"], pair["max"])


def _without_activation(layer: Any, value: Any) -> Any:
    activation = layer.activation
    layer.activation = tf_keras.activations.linear
    try:
        return layer(value)
    finally:
        layer.activation = activation
