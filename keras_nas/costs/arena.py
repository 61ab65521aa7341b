"""The arena of a .tflite's activations: what the runtime's planner makes of their lifetimes."""

from __future__ import annotations

import dataclasses
from collections import Counter

import keras

from keras_nas.choices import ARENA_DTYPES
from keras_nas.costs.converted import Converted, Tensor, convert
from keras_nas.costs.count import graph_of
from keras_nas.errors import UsageError
from keras_nas.graph import Graph

ALIGNMENT = 64
"""Tensors begin at multiples of it."""
IN_PLACE = ("add", "mul", "reshape")
"""Operations that may write where one of their inputs stands."""
VIEWS = ("reshape",)
"""Those that do so even where others read that input too."""


def arena_bytes(model: keras.Model | Graph, dtype: str = "float32") -> int:
    """The bytes that the activations of a model's .tflite take at once, at batch 1.

    The tensors of the file are planned as TFLite's runtime does it: the largest first, each in the
    smallest gap between those that are alive with it, at multiples of 64 bytes.
    Inputs and outputs live from beginning to end; a sum or product of one that nobody else reads is
    written in its place, and so is what a Reshape gives. With "int8", inputs and outputs are
    float32 (`io_dtype`), and beside them stand the quantised ones.

    It is, to the byte, the arena of LiteRT with its reference kernels
    (`OpResolverType.BUILTIN_REF`). Other kernels need room of their own besides: the optimised ones
    of the same runtime the windows of a convolution side by side (im2col), XNNPACK packed weights.

    Args:
        model: A functional model with known sizes, or its graph.
        dtype: Of the activations: "float32" (also of float16 and dynamic_int8 files) or "int8".

    Raises:
        UsageError: If `dtype` is neither.
        KerasNasError: If the model is subclassed or sizes are open.
    """
    if dtype not in ARENA_DTYPES:
        raise UsageError(f"`dtype` must be one of {ARENA_DTYPES}. Received: dtype={dtype!r}")
    graph = model if isinstance(model, Graph) else graph_of(model)
    return _Planner(convert(graph), 1 if dtype == "int8" else 4).peak()


@dataclasses.dataclass(eq=False)
class _Buffer:
    """A place in the arena and when it is needed, by the operations' numbers."""

    size: int
    born: int
    dies: int


class _Planner:
    def __init__(self, converted: Converted, itemsize: int):
        self.buffers: dict[Tensor, _Buffer] = {}
        operations = converted.operations
        end = len(operations) + 2  # those that quantise come before and after
        last: dict[Tensor, int] = {}
        readers: Counter[Tensor] = Counter()
        for number, operation in enumerate(operations, start=1):
            for tensor in set(operation.inputs):
                last[tensor] = number
                readers[tensor] += 1
        fixed = {*converted.inputs, *converted.outputs}
        self.outside: list[_Buffer] = []
        if itemsize == 4:
            last.update(dict.fromkeys(fixed, end))
        else:
            last.update(dict.fromkeys(converted.outputs, end - 1))
            self.outside = [_Buffer(4 * t.elements, 0, end) for t in converted.inputs]
            self.outside += [_Buffer(4 * t.elements, end - 1, end) for t in converted.outputs]
        for tensor in converted.inputs:
            self.buffers[tensor] = _Buffer(itemsize * tensor.elements, 0, last.get(tensor, 0))
        for number, operation in enumerate(operations, start=1):
            tensor = operation.output
            dies = last.get(tensor, number)
            home = self._home(operation, readers, fixed if itemsize == 4 else set())
            if home is not None:
                home.dies = max(home.dies, dies)
            self.buffers[tensor] = home or _Buffer(itemsize * tensor.elements, number, dies)

    def _home(self, operation, readers, fixed) -> _Buffer | None:
        """The buffer of an input that the output takes over."""
        if operation.name not in IN_PLACE:
            return None
        for tensor in operation.inputs:
            alone = readers[tensor] == 1 or operation.name in VIEWS
            if alone and tensor not in fixed and tensor.elements == operation.output.elements:
                return self.buffers[tensor]
        return None

    def peak(self) -> int:
        buffers = list(dict.fromkeys([*self.buffers.values(), *self.outside]))
        end = max(buffer.dies for buffer in buffers)
        always = [b for b in buffers if b.born == 0 and b.dies == end]
        others = [b for b in buffers if b not in always]
        placed: list[tuple[int, _Buffer]] = []
        for buffer in [*always, *sorted(others, key=lambda b: (-b.size, b.born))]:
            placed.append((_offset(buffer, placed), buffer))
        return max(offset + buffer.size for offset, buffer in placed)


def _offset(buffer: _Buffer, placed: list[tuple[int, _Buffer]]) -> int:
    """Where it fits best among those that are alive with it."""
    alive = sorted(
        (offset, offset + other.size)
        for offset, other in placed
        if other.born <= buffer.dies and other.dies >= buffer.born
    )
    gap, found, free = 0, None, 0
    for start, stop in alive:
        if _aligned(free) + buffer.size <= start and (found is None or start - free < gap):
            gap, found = start - free, _aligned(free)
        free = max(free, stop)
    return _aligned(free) if found is None else found


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT
