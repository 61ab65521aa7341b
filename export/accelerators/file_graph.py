"""A .tflite's main graph as delegates look at it: nodes in their order, and their tensors."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from export import flatbuffer


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A value of the graph.

    Attributes:
        shape: Its sizes; -1 where one may change.
        dtype: Such as "float32".
        constant: Whether the file holds it.
    """

    shape: tuple[int, ...]
    dtype: str
    constant: bool

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclasses.dataclass(frozen=True)
class Node:
    """An operation of the graph.

    Attributes:
        operation: The runtime's name of it, e.g. "CONV_2D"; "custom:…" for one of a user's.
        version: Its version in the file.
        inputs, outputs: Places in `FileGraph.tensors`; -1 for an input that is left out.
        options: The schema's options of the operation (a `…OptionsT`), or None.
    """

    operation: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any = None


@dataclasses.dataclass(frozen=True)
class FileGraph:
    """The main graph; loops' and branches' own graphs stand in other subgraphs.

    Attributes:
        nodes: In the order in which the runtime runs them.
        tensors: By place.
    """

    nodes: Sequence[Node]
    tensors: Sequence[Tensor]

    @classmethod
    def of(cls, model: Any) -> FileGraph:
        """Reads what `export.flatbuffer.read` returned."""
        graph = model.subgraphs[0]
        tensors = [
            Tensor(_shape(tensor), flatbuffer.dtype_of(tensor), _is_constant(model, tensor))
            for tensor in graph.tensors
        ]
        nodes = [
            Node(
                flatbuffer.name_of(model, operator),
                model.operatorCodes[operator.opcodeIndex].version,
                _places(operator.inputs),
                _places(operator.outputs),
                operator.builtinOptions,
            )
            for operator in graph.operators
        ]
        return cls(nodes, tensors)

    def inputs_of(self, node: Node) -> list[Tensor]:
        """The tensors that a node reads, without those that are left out."""
        return [self.tensors[place] for place in node.inputs if place >= 0]

    def outputs_of(self, node: Node) -> list[Tensor]:
        """The tensors that a node makes."""
        return [self.tensors[place] for place in node.outputs]

    def macs(self) -> int:
        """Multiply-adds of the convolutions, Dense layers and matrix products, of one call.

        Sizes that may change count as 1.
        """
        return sum(self._macs_of(node) for node in self.nodes)

    def _macs_of(self, node: Node) -> int:
        sizes = [[max(1, n) for n in self.tensors[place].shape] for place in node.inputs]
        made = math.prod(max(1, n) for n in self.tensors[node.outputs[0]].shape)
        if node.operation in ("CONV_2D", "FULLY_CONNECTED"):
            return made * math.prod(sizes[1][1:])
        if node.operation == "DEPTHWISE_CONV_2D":
            return made * math.prod(sizes[1][1:3])
        if node.operation == "TRANSPOSE_CONV":  # its inputs: output's shape, weights, values
            return math.prod(sizes[2]) * math.prod(sizes[1][:3])
        if node.operation == "BATCH_MATMUL":
            return made * sizes[0][-2 if node.options and node.options.adjX else -1]
        return 0


def _places(indices: Any) -> tuple[int, ...]:
    return () if indices is None else tuple(int(index) for index in indices)


def _shape(tensor: Any) -> tuple[int, ...]:
    signature = tensor.shapeSignature
    sizes = tensor.shape if signature is None or not len(signature) else signature
    return () if sizes is None else tuple(int(n) for n in sizes)


def _is_constant(model: Any, tensor: Any) -> bool:
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0
