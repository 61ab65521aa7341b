"""The ProxylessNAS supernet: blocks of parallel MBConvs, for DSO's edges and for DNAL's gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import keras
from keras import layers

from keras_nas.errors import UsageError
from keras_nas.layers import ScaledEdge
from keras_nas.models.conv_block import (
    apply_classifier,
    apply_conv_bn_block,
    apply_depthwise_bn_block,
)
from keras_nas.models.dso_edges import block_names
from keras_nas.models.registry import register

OPERATIONS = tuple(f"mb{expansion}_k{kernel}" for kernel in (3, 5, 7) for expansion in (3, 6))
"""The six operations of a block: MBConv by expansion and kernel size."""


class Widths(NamedTuple):
    """Channels of a backbone: of its stem, first MBConv, stages and head."""

    stem: int
    first: int
    stages: tuple[int, ...]
    head: int


VARIANTS: Mapping[str, Widths] = {
    "mobile": Widths(32, 16, (24, 40, 80, 96, 192, 320), 1280),
    "gpu": Widths(40, 24, (32, 56, 112, 128, 256, 432), 1728),
    "cpu": Widths(40, 24, (32, 48, 88, 104, 216, 360), 1432),
}
"""Widths: of the search space of ProxylessNAS' code, and of its published GPU and CPU networks."""

STAGE_BLOCKS = (4, 4, 4, 4, 4, 1)
STAGE_STRIDES = (2, 2, 2, 1, 2, 1)


@register
def proxyless(
    input_shape: Sequence[int] = (224, 224, 3),
    num_classes: int = 1000,
    variant: str = "mobile",
    edges: bool = False,
    block_operations: Sequence[Sequence[str]] | None = None,
    stem_width: int | None = None,
    stem_strides: int = 2,
    first_width: int | None = None,
    stage_widths: Sequence[int] | None = None,
    stage_blocks: Sequence[int] = STAGE_BLOCKS,
    stage_strides: Sequence[int] = STAGE_STRIDES,
    head_width: int | None = None,
    dropout: float = 0.0,
    name: str = "proxyless",
) -> keras.Model:
    """ProxylessNAS' backbone: 21 blocks, each the plain sum of six MBConvs and a residual.

    A block has the residual where its stride is 1 and its width stays. There is no zero operation.
    As it is, this is DNAL's "stochastic supernet": `gates.insert` puts channel gates into every
    operation. With `edges` each operation's output carries a `ScaledEdge` instead, for DSO.

    The "mobile" variant with 1,000 classes has 16.03 M params (kernels, biases, and scales and
    offsets of BatchNormalization; not its moving statistics): the 16.0 M of DNAL's Table VII.

    Args:
        input_shape: `(height, width, channels)`.
        num_classes: Number of outputs.
        variant: `"mobile"`, `"gpu"` or `"cpu"`: the widths, where they are not given.
        edges: Whether operations have a `ScaledEdge` (named `{block}_edge_{operation}`).
        block_operations: The operations of each block among `OPERATIONS`; all by default. A block
            without any is left out, which a block with no residual cannot be.
        stem_width, stem_strides: Of the first, 3×3, convolution.
        first_width: Channels of the MBConv behind it, of expansion 1 and kernel 3.
        stage_widths, stage_blocks, stage_strides: One entry a stage; a stage's first block has its
            stride.
        head_width: Channels of the last 1×1 convolution.
        dropout: Rate before the classifier.
        name: Of the model.

    Raises:
        KerasNasError: If an argument is unknown, or a block without residual has no operation.

    References:
        Cai et al., ProxylessNAS (ICLR 2019); Zhang et al., You Only Search Once, Eq. (3) and (4);
        Guo et al., Differentiable Neural Architecture Learning, Eq. (5).
    """
    if variant not in VARIANTS:
        raise UsageError(
            f"`variant` must be one of {tuple(VARIANTS)}. Received: variant={variant!r}"
        )
    widths = VARIANTS[variant]
    blocks = _blocks(
        widths.stages if stage_widths is None else stage_widths, stage_blocks, stage_strides
    )
    chosen = _chosen_operations(block_operations, len(blocks))
    inputs = keras.Input(tuple(input_shape), name="image")
    x = apply_conv_bn_block(
        inputs, stem_width or widths.stem, 3, stem_strides, activation="relu6", name="stem"
    )
    x = apply_depthwise_bn_block(x, 3, activation="relu6", name="first_depthwise")
    x = apply_conv_bn_block(
        x, first_width or widths.first, 1, activation=None, name="first_project"
    )
    for (width, strides, block_name), operations in zip(blocks, chosen, strict=True):
        x = apply_parallel_block(x, width, strides, operations, edges=edges, name=block_name)
    x = apply_conv_bn_block(x, head_width or widths.head, 1, activation="relu6", name="head")
    x = layers.GlobalAveragePooling2D(name="head_pool")(x)
    if dropout:
        x = layers.Dropout(dropout, name="head_dropout")(x)
    return keras.Model(inputs, apply_classifier(x, num_classes), name=name)


def apply_parallel_block(
    x: keras.KerasTensor,
    width: int,
    strides: int,
    operations: Sequence[str],
    *,
    edges: bool = False,
    name: str,
) -> keras.KerasTensor:
    """The sum of parallel MBConvs and, where shapes allow, of the input (Eq. 4).

    Args:
        x: `(batch, height, width, channels)`.
        width: Channels of the output.
        strides: Of the depthwise convolutions.
        operations: Among `OPERATIONS`.
        edges: Whether each operation's output has a `ScaledEdge`.
        name: Prefix of the layers' names.

    Raises:
        KerasNasError: If there is neither an operation nor a residual.
    """
    residual = strides == 1 and x.shape[-1] == width
    if not operations and not residual:
        raise UsageError(
            f"`block_operations` must keep an operation in block '{name}', which has no residual."
        )
    summed = [x] if residual else []
    for operation in operations:
        y = apply_mbconv(x, width, strides, *_parsed(operation), name=f"{name}_{operation}")
        if edges:
            y = ScaledEdge(block=name, source=operation, name=edge_name(name, operation))(y)
        summed.append(y)
    return summed[0] if len(summed) == 1 else layers.Add(name=f"{name}_add")(summed)


def apply_mbconv(
    x: keras.KerasTensor,
    width: int,
    strides: int,
    expansion: int,
    kernel_size: int,
    *,
    name: str,
) -> keras.KerasTensor:
    """Mobile inverted bottleneck: 1×1 expansion, depthwise convolution, linear 1×1 projection.

    Args:
        x: `(batch, height, width, channels)`.
        width: Channels of the output.
        strides, kernel_size: Of the depthwise convolution.
        expansion: The depthwise convolution's channels by the input's.
        name: Prefix of the layers' names.
    """
    x = apply_conv_bn_block(
        x, expansion * x.shape[-1], 1, activation="relu6", name=f"{name}_expand"
    )
    x = apply_depthwise_bn_block(
        x, kernel_size, strides, activation="relu6", name=f"{name}_depthwise"
    )
    return apply_conv_bn_block(x, width, 1, activation=None, name=f"{name}_project")


def edge_name(block: str, operation: str) -> str:
    """The name of the `ScaledEdge` behind an operation of a block."""
    return f"{block}_edge_{operation}"


def _blocks(widths, counts, strides) -> list[tuple[int, int, str]]:
    if not len(widths) == len(counts) == len(strides):
        raise UsageError(
            "`stage_widths`, `stage_blocks` and `stage_strides` must have one entry a stage. "
            f"Received: {len(widths)}, {len(counts)} and {len(strides)} entries"
        )
    names = iter(block_names(counts))
    return [
        (width, stride if block == 0 else 1, next(names))
        for width, count, stride in zip(widths, counts, strides, strict=True)
        for block in range(count)
    ]


def _chosen_operations(block_operations, count) -> list[Sequence[str]]:
    if block_operations is None:
        return [OPERATIONS] * count
    if len(block_operations) != count:
        raise UsageError(
            f"`block_operations` must have one list a block, {count}. "
            f"Received: {len(block_operations)} lists"
        )
    for operations in block_operations:
        if len(set(operations)) != len(operations) or not set(operations) <= set(OPERATIONS):
            raise UsageError(
                f"`block_operations` must hold operations of {OPERATIONS}, each once. "
                f"Received: {list(operations)}"
            )
    return list(block_operations)


def _parsed(operation: str) -> tuple[int, int]:
    expansion, kernel = operation.removeprefix("mb").split("_k")
    return int(expansion), int(kernel)
