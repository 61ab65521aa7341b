"""DeepLabv3 on MobileNetV2 and on DSO's search space; its head of several dilations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import layers

from keras_nas.errors import UsageError
from keras_nas.models.conv_block import apply_conv_bn_block
from keras_nas.models.dso_space import DsoSpace, Genotype
from keras_nas.models.mobilenet_v2 import (
    BLOCK_WIDTHS,
    EXPANDED_WIDTHS,
    STEM_WIDTH,
    STRIDED_BLOCKS,
    apply_inverted_residual_block,
)
from keras_nas.models.registry import register
from keras_nas.models.widths import resolve_widths

RATES = (6, 12, 18)
"""The dilations for features of output stride 16."""


def apply_aspp_head(
    x: keras.KerasTensor,
    num_classes: int,
    size: Sequence[int],
    *,
    rates: Sequence[int] = RATES,
    width: int = 256,
    dropout: float = 0.0,
    name: str = "aspp",
) -> keras.KerasTensor:
    """Atrous spatial pyramid pooling, a classifier of each pixel, and resizing to the image.

    A 1×1 convolution, a 3×3 one for each dilation, and the pooled image through a 1×1 one stand
    side by side and are concatenated; a 1×1 convolution joins them. All are plain layers, so that
    gates can go into each and surgery can take whole branches away.

    Args:
        x: Features `(batch, height, width, channels)`, height and width known.
        num_classes: Number of classes.
        size: `(height, width)` of the image, to which the logits are resized.
        rates: The dilations.
        width: Channels of each branch, and of the joint.
        dropout: Rate before the classifier.
        name: Prefix of the layers' names.

    Returns:
        Logits `(batch, size[0], size[1], num_classes)`, float32 under a half-precision policy.

    References:
        Chen et al., Rethinking Atrous Convolution for Semantic Image Segmentation (2017).
    """
    branches = [apply_conv_bn_block(x, width, 1, name=f"{name}_point")]
    branches += [
        apply_conv_bn_block(x, width, 3, dilation=rate, name=f"{name}_rate{rate}") for rate in rates
    ]
    pooled = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool")(x)
    pooled = apply_conv_bn_block(pooled, width, 1, name=f"{name}_whole")
    branches.append(
        layers.UpSampling2D(tuple(x.shape[1:3]), name=f"{name}_whole_upsampling")(pooled)
    )
    y = layers.Concatenate(name=f"{name}_concat")(branches)
    y = apply_conv_bn_block(y, width, 1, name=f"{name}_joint")
    if dropout:
        y = layers.Dropout(dropout, name=f"{name}_dropout")(y)
    half = keras.config.dtype_policy().compute_dtype in ("float16", "bfloat16")
    dtype = "float32" if half else None
    y = layers.Conv2D(num_classes, 1, dtype=dtype, name="logits")(y)
    if tuple(y.shape[1:3]) == tuple(size):
        return y
    return layers.Resizing(*size, interpolation="bilinear", dtype=dtype, name="resized_logits")(y)


@register
def deeplab_mobilenet_v2(
    input_shape: Sequence[int] = (513, 513, 3),
    num_classes: int = 21,
    output_stride: int = 16,
    stem_width: int = STEM_WIDTH,
    expanded_widths: Sequence[int] | None = None,
    block_widths: Sequence[int] | None = None,
    head_width: int = 256,
    rates: Sequence[int] = RATES,
    dropout: float = 0.1,
    name: str = "deeplab_mobilenet_v2",
) -> keras.Model:
    """DeepLabv3 on MobileNetV2 without its last 1×1 convolution: 4.52 M params, 5.36 G macs.

    From the output stride on, blocks have stride 1 and their depthwise convolutions are dilated
    instead.

    Args:
        input_shape: `(height, width, channels)`.
        num_classes: Number of classes.
        output_stride: 8, 16 or 32: the image's size by the features'.
        stem_width, expanded_widths, block_widths: As in `mobilenet_v2`.
        head_width, rates: As in `apply_aspp_head`.
        dropout: Rate before the classifier.
        name: Of the model.

    Raises:
        KerasNasError: If `output_stride` is not one of these.

    References:
        Chen et al., Rethinking Atrous Convolution for Semantic Image Segmentation (2017); Sandler
        et al., MobileNetV2 (2018), Table 7.
    """
    if output_stride not in (8, 16, 32):
        raise UsageError(
            f"`output_stride` must be one of (8, 16, 32). Received: output_stride={output_stride}"
        )
    expanded = resolve_widths(expanded_widths, EXPANDED_WIDTHS, "expanded_widths")
    widths = resolve_widths(block_widths, BLOCK_WIDTHS, "block_widths")
    inputs = keras.Input(tuple(input_shape), name="image")
    x = apply_conv_bn_block(inputs, stem_width, 3, 2, activation="relu6", name="stem")
    stride, dilation = 2, 1
    for index, (inner, width) in enumerate(zip(expanded, widths, strict=True)):
        strides, own_dilation = STRIDED_BLOCKS.get(index, 1), dilation
        if strides == 2 and stride == output_stride:
            strides, dilation = 1, 2 * dilation
        stride *= strides
        x = apply_inverted_residual_block(
            x,
            expanded_width=inner,
            width=width,
            strides=strides,
            dilation=own_dilation,
            name=f"block{index + 1}",
        )
    x = apply_aspp_head(
        x, num_classes, input_shape[:2], rates=rates, width=head_width, dropout=dropout
    )
    return keras.Model(inputs, x, name=name)


@register
def deeplab_dso(
    input_shape: Sequence[int] = (513, 513, 3),
    num_classes: int = 21,
    space: Mapping[str, Any] | None = None,
    genotype: Genotype | None = None,
    stage_widths: Sequence[int] | None = None,
    head_width: int = 256,
    rates: Sequence[int] = RATES,
    dropout: float = 0.0,
    drop_path: float = 0.0,
    name: str = "deeplab_dso",
) -> keras.Model:
    """DeepLabv3 on a network of DSO's space: the full network with edges, or one that was found.

    Args:
        input_shape: `(height, width, channels)`.
        num_classes: Number of classes.
        space: Arguments of `DsoSpace` that differ from those of the paper's segmentation search
            (section 4.4): the ImageNet space, shared blocks, output stride 16.
        genotype: The edges of a network that was found; None for the full network.
        stage_widths: Other widths than the space's, for a network that was found.
        head_width, rates: As in `apply_aspp_head`.
        dropout, drop_path: Of a network that was found.
        name: Of the model.
    """
    searched = segmentation_space(input_shape, space)

    def head(x):
        return apply_aspp_head(
            x, num_classes, input_shape[:2], rates=rates, width=head_width, dropout=dropout
        )

    if genotype is None:
        return searched.supernet(name, head)
    return searched.network(genotype, stage_widths, 0.0, drop_path, name, head)


def segmentation_space(
    input_shape: Sequence[int], changes: Mapping[str, Any] | None = None
) -> DsoSpace:
    """The space of the paper's segmentation search, with changes; see `deeplab_dso`."""
    settings = {"scope": "share", "last_stage_dilation": 2, **(changes or {})}
    return DsoSpace.imagenet(**{**settings, "input_shape": tuple(input_shape)})
