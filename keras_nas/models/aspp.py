"""DeepLabv3's head: convolutions of several dilations side by side, and the whole image."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from keras_nas.models.conv_block import apply_conv_bn_block

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
