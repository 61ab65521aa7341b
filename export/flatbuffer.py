"""Reading and completing .tflite files as what they are, flatbuffers of the TFLite schema."""

from __future__ import annotations

import collections
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from export.errors import ExportError

_ALIGNMENT = 16
_TENSOR_TYPES = {
    code: name.lower() for name, code in vars(schema.TensorType).items() if not name.startswith("_")
}
_CONVERSIONS = {"QUANTIZE", "DEQUANTIZE"}


def read(content: bytes | bytearray) -> Any:
    """Parses a .tflite file's bytes into the schema's `ModelT`.

    Raises:
        ExportError: They are no .tflite, or a damaged one.
    """
    if bytes(content[4:8]) != b"TFL3":
        raise ExportError("This is not a .tflite file: its bytes 4 to 8 are not `TFL3`.")
    try:
        return flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    except (struct.error, ValueError, IndexError, TypeError, AttributeError) as error:
        raise ExportError(f"The .tflite file is cut off or damaged: {error}") from error


def read_file(path: str | os.PathLike[str]) -> Any:
    """Reads the file at `path`; see `read`."""
    try:
        return read(Path(path).read_bytes())
    except OSError as error:
        raise ExportError(f"Cannot read the model {path}: {error.strerror}.") from error
    except ExportError as error:
        raise ExportError(f"Cannot read the model {path}. {error}") from error


def operators(model: Any) -> dict[str, int]:
    """Counts the operations of all subgraphs by name, e.g. {"CONV_2D": 4, "SOFTMAX": 1}.

    A custom operation has the name that its author gave it, after "custom:".
    """
    return dict(
        collections.Counter(
            name_of(model, operator) for graph in model.subgraphs for operator in graph.operators
        )
    )


def custom_operators(model: Any) -> list[str]:
    """Returns the names of the operations that are not built into the runtime."""
    return sorted(
        name.removeprefix("custom:") for name in operators(model) if name.startswith("custom:")
    )


def float_operators(model: Any) -> list[str]:
    """Returns the names of the operations that compute in floating point.

    The conversions at a quantised model's inputs and outputs are not counted, nor is the cast of an
    input that the model takes as an integer.
    """
    found = set()
    for graph in model.subgraphs:
        for operator in graph.operators:
            name = name_of(model, operator)
            kinds = {_TENSOR_TYPES[graph.tensors[index].type] for index in operator.outputs}
            entrance = name == "CAST" and set(operator.inputs) <= set(graph.inputs)
            if name not in _CONVERSIONS and not entrance and kinds & {"float32", "float16"}:
                found.add(name)
    return sorted(found)


def weights_dtype(model: Any) -> str:
    """Returns the dtype that most of the constants' bytes have."""
    sizes: collections.Counter[str] = collections.Counter()
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            data = model.buffers[tensor.buffer].data
            if data is not None:
                sizes[_TENSOR_TYPES[tensor.type]] += len(data)
    return sizes.most_common(1)[0][0] if sizes else "none"


def dtype_of(tensor: Any) -> str:
    """Returns the dtype of a `TensorT`, e.g. "float32"."""
    return _TENSOR_TYPES[tensor.type]


def tensor_dtype(model: Any, index: int) -> str:
    """Returns the dtype of a tensor of the first subgraph."""
    return _TENSOR_TYPES[model.subgraphs[0].tensors[index].type]


def add_signature(
    content: bytes, inputs: Sequence[str], outputs: Sequence[str], key: str = "serving_default"
) -> bytes:
    """Names a model's inputs and outputs.

    Args:
        content: A .tflite file with one subgraph and no signature.
        inputs: Names for the subgraph's inputs, in their order.
        outputs: Names for its outputs, in their order.
        key: The signature's key.

    Returns:
        The file with a signature, so that clients can feed and read it by name; constants stay
        aligned to 16 bytes as the schema asks.
    """
    model = read(content)
    graph = model.subgraphs[0]
    signature = schema.SignatureDefT()
    signature.signatureKey = key.encode()
    signature.subgraphIndex = 0
    signature.inputs = _tensor_maps(inputs, graph.inputs)
    signature.outputs = _tensor_maps(outputs, graph.outputs)
    model.signatureDefs = [signature]
    return write(model)


def write(model: Any) -> bytes:
    """Returns the bytes of a `ModelT` as a .tflite file."""
    builder = _AlignedBuilder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


class _AlignedBuilder(flatbuffers.Builder):
    """Packs byte vectors (the constants' buffers) at multiples of 16."""

    def StartVector(self, elem_size, num_elems, alignment):  # noqa: N802
        if elem_size == 1:
            alignment = max(alignment, _ALIGNMENT)
        return super().StartVector(elem_size, num_elems, alignment)


def name_of(model: Any, operator: Any) -> str:
    code = model.operatorCodes[operator.opcodeIndex]
    name = flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex)
    if name == "CUSTOM":
        return f"custom:{code.customCode.decode()}"
    return str(name)


def _tensor_maps(names: Sequence[str], indices: Sequence[int]) -> list[Any]:
    maps = []
    for name, index in zip(names, indices, strict=True):
        entry = schema.TensorMapT()
        entry.name = name.encode()
        entry.tensorIndex = int(index)
        maps.append(entry)
    return maps
