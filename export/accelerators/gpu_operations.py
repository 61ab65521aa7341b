"""The table of the GPU delegate's operations, with versions and conditions, and its sources.

`DOCUMENTED` is the list of Google's page "GPU delegates for LiteRT", section "GPU ML operations
support" (<https://ai.google.dev/edge/litert/performance/gpu>; it is the list of TensorFlow's
tensorflow/lite/g3doc/performance/gpu.md): what phones' delegates have taken for years, each
operation in version 1 unless the page names another, and in quantised models "the appropriate
versions".
QUANTIZE and DEQUANTIZE are those that the page's section on quantised models speaks of.

`NEWER` is what TensorFlow's source takes beside (`NewOperationParser` and the versions in
tensorflow/lite/delegates/gpu/common/model_builder.cc of 2024, conditions in
tensorflow/lite/tools/versioning/gpu_compatibility.cc): a phone has it only where its app brings a
delegate that new. Left out are comparisons, SELECT, ONE_HOT, CUMSUM and EMBEDDING_LOOKUP, which it
takes in few cases.
"""

from __future__ import annotations

import dataclasses

from export.accelerators import gpu_conditions as asks
from export.accelerators.gpu_conditions import Condition

ANY = 1000
"""The version of an operation whose version the delegate does not look at."""


@dataclasses.dataclass(frozen=True)
class GpuOperation:
    """A row of the table.

    Attributes:
        version: The newest version that the page names.
        newest: The newest version that TensorFlow's source takes, also in quantised models.
        conditions: What it asks beside.
        dtypes: Types of computed tensors that it takes beside floats and 8-bit integers.
    """

    version: int
    newest: int
    conditions: tuple[Condition, ...] = ()
    dtypes: frozenset[str] = frozenset()


_ONE = asks.operands((1, 0))
_TWO = asks.operands((2, 0), (1, 1))
_VALUES_AND_SIZES = asks.computed_inputs(1, 1)
_CONVOLUTION = asks.computed_inputs(1, 2)
_REDUCTION = (_VALUES_AND_SIZES, asks.constant_axes)
_SUM = (asks.two_inputs, asks.broadcast)
_PRODUCT = (*_SUM, asks.no_outer_product, asks.activation)
_POOLING = (_ONE, asks.activation)
_PADDING = (_VALUES_AND_SIZES, asks.paddings)
_BOOLEANS = frozenset({"bool"})

DOCUMENTED = {
    "ADD": GpuOperation(1, 2, _SUM),
    "AVERAGE_POOL_2D": GpuOperation(1, 2, _POOLING),
    "CONCATENATION": GpuOperation(1, 2),
    "CONV_2D": GpuOperation(1, 6, (_CONVOLUTION, asks.activation)),
    "DEPTHWISE_CONV_2D": GpuOperation(2, 6, (_CONVOLUTION, asks.activation, asks.depthwise)),
    "DEQUANTIZE": GpuOperation(3, 3, (asks.computed_inputs(0, 1),)),
    "EXP": GpuOperation(1, 2, (_ONE,)),
    "FULLY_CONNECTED": GpuOperation(1, 9, (asks.computed_inputs(1, 2), asks.fully_connected)),
    "LOGICAL_AND": GpuOperation(1, 2, (_TWO,), _BOOLEANS),
    "LOGISTIC": GpuOperation(1, 2, (_ONE,)),
    "LSTM": GpuOperation(2, 4, (asks.basic_lstm,)),
    "MAXIMUM": GpuOperation(1, 2, (_TWO,)),
    "MAX_POOL_2D": GpuOperation(1, 2, _POOLING),
    "MINIMUM": GpuOperation(1, 2, (_TWO,)),
    "MUL": GpuOperation(1, 3, _PRODUCT),
    "PAD": GpuOperation(1, 2, _PADDING),
    "PRELU": GpuOperation(1, 1, (asks.prelu,)),
    "QUANTIZE": GpuOperation(2, 2, (_ONE,)),
    "RELU": GpuOperation(1, 2),
    "RELU6": GpuOperation(1, 2),
    "RESHAPE": GpuOperation(1, 1, (_VALUES_AND_SIZES,)),
    "RESIZE_BILINEAR": GpuOperation(3, 3, (_VALUES_AND_SIZES, asks.resize)),
    "SOFTMAX": GpuOperation(1, 2, (asks.softmax,)),
    "STRIDED_SLICE": GpuOperation(1, 4, (asks.plain_slices, asks.sizes_of_slices)),
    "SUB": GpuOperation(1, 2, (_TWO,)),
    "TRANSPOSE_CONV": GpuOperation(1, 3, (_CONVOLUTION,)),
}

NEWER = {
    "ADD_N": GpuOperation(2, 2, (asks.two_inputs,)),
    "BATCH_MATMUL": GpuOperation(ANY, ANY, (_TWO,)),
    "CAST": GpuOperation(ANY, ANY, (_ONE, asks.cast), frozenset({"int32"})),
    "DEPTH_TO_SPACE": GpuOperation(ANY, ANY, (_ONE, asks.block_size)),
    "GATHER": GpuOperation(1, 1, (_TWO, asks.gather)),
    "HARD_SWISH": GpuOperation(ANY, ANY, (_ONE,)),
    "LEAKY_RELU": GpuOperation(2, 2),
    "MEAN": GpuOperation(ANY, ANY, _REDUCTION),
    "MIRROR_PAD": GpuOperation(2, 2, (*_PADDING, asks.reflecting)),
    "PACK": GpuOperation(ANY, ANY),
    "PADV2": GpuOperation(2, 2, _PADDING),
    "RELU_N1_TO_1": GpuOperation(2, 2),
    "RESIZE_NEAREST_NEIGHBOR": GpuOperation(3, 3, (_VALUES_AND_SIZES,)),
    "SLICE": GpuOperation(2, 2, (asks.sizes_of_slices,)),
    "SPACE_TO_DEPTH": GpuOperation(2, 2, (_ONE, asks.block_size)),
    "SPLIT": GpuOperation(ANY, ANY),
    "SPLIT_V": GpuOperation(ANY, ANY),
    "TILE": GpuOperation(ANY, ANY, (_VALUES_AND_SIZES,)),
    "TRANSPOSE": GpuOperation(4, 4, (_VALUES_AND_SIZES,)),
    "UNPACK": GpuOperation(ANY, ANY),
    **{
        name: GpuOperation(ANY, ANY, _REDUCTION)
        for name in ("REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "SUM")
    },
    **{
        name: GpuOperation(2, 2, (_ONE,))
        for name in ("ABS", "COS", "ELU", "FLOOR", "GELU", "LOG", "NEG", "RSQRT")
    },
    **{name: GpuOperation(2, 2, (_ONE,)) for name in ("SIGN", "SIN", "SQRT", "SQUARE", "TANH")},
    **{
        name: GpuOperation(2, 2, (_TWO,))
        for name in ("DIV", "FLOOR_DIV", "FLOOR_MOD", "POW", "SQUARED_DIFFERENCE")
    },
}
