"""How many bytes the .tflite of a network takes, without converting it."""

from __future__ import annotations

import dataclasses

import keras

from keras_nas.choices import FILE_FORMATS
from keras_nas.costs.converted import (
    BIAS,
    INDEX,
    KERNEL,
    ZEROS,
    Constant,
    Converted,
    Tensor,
    convert,
)
from keras_nas.costs.count import graph_of
from keras_nas.errors import UsageError
from keras_nas.graph import Graph

ALIGNMENT = 16
"""Constants begin at multiples of it."""
LEAST_DYNAMIC = 1024
"""Kernels of fewer values stay float32 in the format dynamic_int8."""
CHANNEL = 12
"""Bytes of the scale and the zero point of each channel of a quantised tensor."""
FILE, TENSOR, QUANTIZED = 610, 98, 23
"""Bytes of a file, and besides of each tensor (the operation that writes it, or the constant's
buffer, included) and of each tensor with scales; see `tflite_bytes`."""
SHORT_NAME = 17
"""Letters of the names of constants, and of the file's inputs and outputs."""


@dataclasses.dataclass
class Contents:
    """What a file is made of.

    Attributes:
        data: Bytes of the constants, with what aligns them.
        names: Letters of the tensors' names.
        tensors: How many there are, constants among them.
        quantized: Those with scales.
        channels: Their channels with a scale each.
    """

    data: int = 0
    names: int = 0
    tensors: int = 0
    quantized: int = 0
    channels: int = 0

    @property
    def size(self) -> int:
        """The file's bytes."""
        tables = FILE + TENSOR * self.tensors + QUANTIZED * self.quantized
        return self.data + self.names + tables + CHANNEL * self.channels


def tflite_bytes(model: keras.Model | Graph, format: str = "float32") -> int:  # noqa: A002
    """Predicts how many bytes the .tflite that `export.tflite.convert` makes of a model takes.

    The constants are those that the converter stores: BatchNormalization folded into the kernel
    and bias before it; in int8 kernels of one byte a value with a scale and a zero point for each
    output channel, and so its biases of four; in dynamic_int8 such kernels from 1024 values on, the
    rest float32; in float16 two bytes, and one more tensor a constant that it is widened to. To
    these come the names of the tensors, which are long, and the flatbuffer's own tables.

    The bytes of those tables (`FILE`, `TENSOR`, `QUANTIZED`) were fitted, by least squares of the
    relative error, to the 36 files of nine networks with random weights in the four formats:
    small_resnet, small_vgg, MobileNetV2 at 64 × 64, a narrow DenseNet-40, EDSR of four blocks, and
    four of 6 to 70 kB. On these the prediction is 0.3 % off on average, 1.9 % at most.

    Example:

    ```python
    keras_nas.costs.tflite_bytes(model, "int8")
    ```

    Args:
        model: A functional model with known sizes, or its graph. It is taken to be trained: biases
            that are still all 0 would be stored once.
        format: "float32", "float16", "dynamic_int8" or "int8" (with float32 inputs and outputs).

    Raises:
        UsageError: If `format` is none of these.
        KerasNasError: If the model is subclassed or sizes are open.
    """
    if format not in FILE_FORMATS:
        raise UsageError(f"`format` must be one of {FILE_FORMATS}. Received: format={format!r}")
    graph = model if isinstance(model, Graph) else graph_of(model)
    return contents_of(convert(graph), format, len(graph.name)).size


def contents_of(converted: Converted, format: str, name: int) -> Contents:  # noqa: A002
    """What the file of a converted graph is made of.

    Args:
        converted: The graph.
        format: One of `FILE_FORMATS`.
        name: The letters of the model's name, which the tensors' names begin with.
    """
    found = Contents()
    made = [operation.output for operation in converted.operations]
    ends = {*converted.inputs, *converted.outputs}
    for tensor in dict.fromkeys([*converted.inputs, *made]):
        found.tensors += 1
        found.names += SHORT_NAME if tensor in ends else _letters(tensor, name)
        if format == "int8":
            found.quantized += 1
            found.channels += 1
    if format == "int8":  # beside the quantised inputs and outputs, those in float32
        found.tensors += len(ends)
        found.names += SHORT_NAME * len(ends)
    constants = [c for operation in converted.operations for c in operation.constants]
    if format != "int8":  # then zeros of one length are stored once
        zeros = {constant.elements: constant for constant in constants if constant.what == ZEROS}
        constants = [c for c in constants if c.what != ZEROS] + list(zeros.values())
    for constant in constants:
        _add_constant(found, constant, format)
    return found


def _add_constant(found: Contents, constant: Constant, format: str) -> None:  # noqa: A002
    found.tensors += 1
    found.names += SHORT_NAME
    small = format == "dynamic_int8" and constant.elements < LEAST_DYNAMIC
    itemsize = 4
    if format == "float16" and constant.what != INDEX:
        itemsize = 2
        found.tensors += 1
        found.names += SHORT_NAME
    elif format in ("int8", "dynamic_int8") and constant.what == KERNEL and not small:
        itemsize = 1
        found.quantized += 1
        found.channels += constant.channels
    elif format == "int8" and constant.what != INDEX:
        itemsize = 4 if constant.what in (BIAS, ZEROS) else 1
        found.quantized += 1
        found.channels += constant.channels
    found.data += -(-constant.elements * itemsize // ALIGNMENT) * ALIGNMENT


def _letters(tensor: Tensor, name: int) -> int:
    """Of names such as `net_1/stem_relu_1/Relu;net_1/stem_conv_1/convolution`."""
    return sum(name + len("_1/;") + length for length in tensor.names)
