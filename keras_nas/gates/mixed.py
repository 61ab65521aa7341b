"""FGNAS' mixed layer: several operations side by side, every channel of each with its own gate."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import layers

from keras_nas.errors import KerasNasError, UsageError
from keras_nas.layers import STEGate

ACTIVATIONS = ("relu", "prelu", "tanh")
TYPES = ("normal", "depthwise")
ORIGINAL = "original"
"""The name of the convolution that a mixed layer had before it was widened."""


@dataclasses.dataclass(frozen=True)
class Branch:
    """One convolution of a mixed layer with what follows it.

    Attributes:
        name: Names it among the mixed layer's branches, such as `conv3x3` or `depthwise5x5`.
        apply: Makes the (normalised) feature map that all its activations read.
        activations: The activations by name, each a function of a tensor; the one named `""` makes
            the operation that is called as the branch is.
    """

    name: str
    apply: Callable[[keras.KerasTensor], keras.KerasTensor]
    activations: dict[str, Callable[[keras.KerasTensor], keras.KerasTensor]]

    def operations(self) -> list[str]:
        """The names of its operations."""
        return [f"{self.name}_{name}" if name else self.name for name in self.activations]


def apply_branches(
    x: keras.KerasTensor,
    branches: Sequence[Branch],
    name: str,
    *,
    shortcut: keras.KerasTensor | None = None,
    dtype: Any = None,
) -> keras.KerasTensor:
    """The mean over all operations, gated channel by channel: Eq. (1) to (3).

    With M operations the result is 1/M Σ G_i ⊙ o_i(x), plus the shortcut where there is one. All
    activations of a branch read one feature map (Fig. 3). Everything but the `STEGate`s is a stock
    layer; the gates are named `{name}_{operation}_gate` and know their mixed layer.

    Args:
        x: The input.
        branches: The convolutions; their outputs have one shape.
        name: Of the mixed layer.
        shortcut: x_ℓ' of Eq. (3).
        dtype: Policy of the gates and of the mean.

    Returns:
        The output, of the branches' shape.
    """
    count = sum(len(branch.activations) for branch in branches)
    outputs = []
    for branch in branches:
        shared = branch.apply(x)
        for activate, operation in zip(
            branch.activations.values(), branch.operations(), strict=True
        ):
            gate = STEGate(
                mixed_layer=name if count > 1 else None,
                operation=operation if count > 1 else None,
                name=f"{name}_{operation}_gate" if count > 1 else f"{name}_gate",
                dtype=dtype,
            )
            outputs.append(gate(activate(shared)))
    result = outputs[0]
    if count > 1:
        result = layers.Add(name=f"{name}_sum", dtype=dtype)(outputs)
        result = layers.Rescaling(1.0 / count, name=f"{name}_mean", dtype=dtype)(result)
    if shortcut is not None:
        result = layers.Add(name=f"{name}_shortcut", dtype=dtype)([shortcut, result])
    return result


def make_activation(activation: str, name: str, dtype: Any = None) -> keras.layers.Layer:
    """One of the paper's activations as a stock layer (Tab. 2).

    Raises:
        KerasNasError: If `activation` is unknown.
    """
    if activation == "relu":
        return layers.ReLU(name=name, dtype=dtype)
    if activation == "prelu":
        start = keras.initializers.Constant(0.25)
        return layers.PReLU(start, shared_axes=[1, 2], name=name, dtype=dtype)
    check_names("activations", (activation,), ACTIVATIONS)
    return layers.Activation(activation, name=name, dtype=dtype)


def check_names(argument: str, given: Sequence[Any], allowed: Sequence[Any]) -> None:
    """Raises `KerasNasError` where `given` holds what is not in `allowed`."""
    for name in given:
        if name not in allowed:
            raise KerasNasError(
                f"`{argument}` must be of {tuple(allowed)}. Received: {argument}={tuple(given)}"
            )


def check_kernels(kernels: Sequence[int]) -> None:
    """Raises `KerasNasError` where a kernel size is not an odd number above 0."""
    for size in kernels:
        if not isinstance(size, int) or size < 1 or size % 2 == 0:
            raise UsageError(
                f"`kernels` must be odd numbers such as 1, 3, 5. Received: kernels={tuple(kernels)}"
            )
