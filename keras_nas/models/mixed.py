"""FGNAS' mixed layer as a building block for one's own models."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from keras_nas.errors import KerasNasError
from keras_nas.gates.mixed import (
    ACTIVATIONS,
    TYPES,
    Branch,
    apply_branches,
    check_kernels,
    check_names,
    make_activation,
)
from keras_nas.models.conv_block import BN_EPSILON, BN_MOMENTUM


def apply_mixed_layer(
    x: keras.KerasTensor,
    filters: int,
    *,
    kernels: Sequence[int] = (1, 3, 5),
    activations: Sequence[str] = ACTIVATIONS,
    types: Sequence[str] = ("normal",),
    strides: int = 1,
    normalize: bool = True,
    shortcut: keras.KerasTensor | None = None,
    name: str,
) -> keras.KerasTensor:
    """x_ℓ = [x_ℓ' +] 1/M Σ G_i ⊙ o_i(x): the mean of M operations, each channel of each gated.

    M is types × kernels × activations. Each convolution is there once, with its
    BatchNormalization, and read by all activations (Fig. 3).

    Example:

    ```python
    x = apply_mixed_layer(inputs, 32, kernels=(1, 3), activations=("relu", "tanh"), name="first")
    x = apply_mixed_layer(x, 32, shortcut=x, name="second")
    ```

    Args:
        x: `(batch, height, width, channels)`.
        filters: Channels of the output; with `"depthwise"` a multiple of the input's.
        kernels: Kernel sizes, odd.
        activations: Of `"relu"`, `"prelu"`, `"tanh"`; none for linear operations.
        types: Of `"normal"`, `"depthwise"`.
        strides: Of the convolutions; their padding is "same".
        normalize: Whether BatchNormalization follows each convolution; without it they have biases.
        shortcut: x_ℓ' of Eq. (3), of the output's shape.
        name: Prefix of the layers' names, and the mixed layer's in `Architecture.kept_operations`.

    Returns:
        `(batch, height / strides, width / strides, filters)`.

    Raises:
        KerasNasError: If an option is not allowed.

    References:
        Kim et al., Fine-Grained Neural Architecture Search, Eq. (1) to (3), Fig. 3, Tab. 2.
    """
    check_kernels(kernels)
    check_names("activations", activations, ACTIVATIONS)
    check_names("types", types, TYPES)
    if not kernels or not types:
        raise KerasNasError("`kernels` and `types` must name one or more. Received: none")
    if "depthwise" in types and filters % x.shape[-1]:
        raise KerasNasError(
            f"`filters` must be a multiple of the input's {x.shape[-1]} channels for depthwise "
            f"convolutions. Received: filters={filters}"
        )
    branches = [
        _branch(filters, kind, size, activations, strides, normalize, name)
        for kind in types
        for size in kernels
    ]
    return apply_branches(x, branches, name, shortcut=shortcut)


def _branch(filters, kind, size, activations, strides, normalize, name) -> Branch:
    branch_name = f"{'conv' if kind == 'normal' else kind}{size}x{size}"
    prefix = f"{name}_{branch_name}"

    def apply(x):
        options = {"padding": "same", "use_bias": not normalize, "name": prefix}
        if kind == "normal":
            layer = layers.Conv2D(filters, size, strides, kernel_initializer="he_normal", **options)
        else:
            multiplier = filters // x.shape[-1]
            layer = layers.DepthwiseConv2D(size, strides, depth_multiplier=multiplier, **options)
        y = layer(x)
        if normalize:
            y = layers.BatchNormalization(
                momentum=BN_MOMENTUM, epsilon=BN_EPSILON, name=f"{prefix}_bn"
            )(y)
        return y

    named = {
        activation: make_activation(activation, f"{prefix}_{activation}")
        for activation in activations
    }
    return Branch(branch_name, apply, named or {"": lambda y: y})
