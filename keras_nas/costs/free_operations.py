"""What costs no macs by convention: element-wise work, pooling, merging, reshaping.

Three sets that the memory counts read as well: views write nothing at all, element-wise operations
may work in place. Layers and ops that stand nowhere in this package are reported as uncounted.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from keras_nas.costs.formulas import Call, Counts, for_layers, is_op

_VIEWS = (
    layers.ActivityRegularization, layers.AlphaDropout, layers.Dropout, layers.Flatten,
    layers.GaussianDropout, layers.GaussianNoise, layers.Identity, layers.Reshape,
    layers.SpatialDropout1D, layers.SpatialDropout2D, layers.SpatialDropout3D,
    layers.RandomBrightness, layers.RandomContrast, layers.RandomFlip, layers.RandomRotation,
    layers.RandomTranslation, layers.RandomZoom,
)  # fmt: skip
_ELEMENTWISE = (
    layers.Activation, layers.BatchNormalization, layers.ELU, layers.LeakyReLU,
    layers.Normalization, layers.PReLU, layers.ReLU, layers.Rescaling,
)  # fmt: skip
_MOVING = (
    layers.Add, layers.Average, layers.AveragePooling1D,
    layers.AveragePooling2D, layers.AveragePooling3D, layers.CenterCrop, layers.Concatenate,
    layers.Cropping1D, layers.Cropping2D, layers.Cropping3D, layers.GlobalAveragePooling1D,
    layers.GlobalAveragePooling2D, layers.GlobalAveragePooling3D, layers.GlobalMaxPooling1D,
    layers.GlobalMaxPooling2D, layers.GlobalMaxPooling3D, layers.Masking, layers.MaxPooling1D,
    layers.MaxPooling2D, layers.MaxPooling3D, layers.Maximum, layers.Minimum, layers.Multiply,
    layers.Permute, layers.RandomCrop, layers.RepeatVector, layers.Resizing, layers.Softmax,
    layers.Subtract, layers.UnitNormalization, layers.UpSampling1D, layers.UpSampling2D,
    layers.UpSampling3D, layers.ZeroPadding1D, layers.ZeroPadding2D, layers.ZeroPadding3D,
)  # fmt: skip
_MOVING_SINCE_KERAS_3_13 = tuple(
    getattr(layers, f"Adaptive{kind}Pooling{rank}D")
    for kind in ("Average", "Max")
    for rank in (1, 2, 3)
    if hasattr(layers, f"Adaptive{kind}Pooling{rank}D")
)
_OWN_FORMULA = (layers.BatchNormalization, layers.Normalization, layers.PReLU)

_VIEW_OPS = {"ExpandDims", "Identity", "Ravel", "Reshape", "Squeeze", "StopGradient", "View"}
_ELEMENTWISE_OPS = {
    "Abs", "Absolute", "Add", "Clip", "Divide", "Elu", "Exp", "Gelu", "HardSigmoid", "HardSilu",
    "HardTanh", "LeakyRelu", "Log", "Maximum", "Minimum", "Mish", "Multiply", "Negative", "Power",
    "ReLU", "Relu", "Relu6", "Rsqrt", "Selu", "Sigmoid", "Silu", "Softplus", "Softsign", "Sqrt",
    "Square", "Subtract", "Tanh", "TrueDivide",
}  # fmt: skip
_FREE_OP_MODULES = {"activations", "core", "image", "nn", "numpy"}
_MULTIPLYING_OPS = {
    "AffineTransform", "AssociativeScan", "Cond", "Conv", "ConvTranspose", "Corrcoef", "Correlate",
    "Cross", "CTCDecode", "CTCLoss", "DepthwiseConv", "Dot", "DotProductAttention",
    "ElasticTransform", "Fold", "ForiLoop", "GaussianBlur", "Inner", "Kron", "Map",
    "MapCoordinates", "Outer", "PSNR", "PerspectiveTransform", "Polar", "Scan", "SSIM",
    "ScaleAndTranslate", "SeparableConv", "Slogdet", "SobelEdges", "Switch", "Tensordot", "Vdot",
    "VectorizedMap", "WhileLoop",
}  # fmt: skip


@for_layers(
    *(
        kind
        for kind in (*_VIEWS, *_ELEMENTWISE, *_MOVING, *_MOVING_SINCE_KERAS_3_13)
        if kind not in _OWN_FORMULA
    )
)
def free(call: Call) -> Counts:
    return Counts()


def is_free_op(operation: Any) -> bool:
    """Whether `operation` is a `keras.ops` operation without multiply-adds that count."""
    if not is_op(operation):
        return False
    module = type(operation).__module__.rsplit(".", 1)[-1]
    return module in _FREE_OP_MODULES and type(operation).__name__ not in _MULTIPLYING_OPS


def is_view(operation: Any) -> bool:
    """Whether the output is the input under another shape, at inference: nothing is written."""
    return _is_among(operation, _VIEWS, _VIEW_OPS)


def is_elementwise(operation: Any) -> bool:
    """Whether each output value depends on the input value in its place alone."""
    return _is_among(operation, _ELEMENTWISE, _ELEMENTWISE_OPS)


def _is_among(operation, layer_types, op_names) -> bool:
    if isinstance(operation, keras.layers.Layer):
        return isinstance(operation, layer_types)
    return is_op(operation) and type(operation).__name__ in op_names
