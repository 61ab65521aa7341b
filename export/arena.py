"""The arena that a file's activations take in the runtime."""

from __future__ import annotations

import os

from ai_edge_litert.interpreter import Interpreter, OpResolverType


def measured_arena(path: str | os.PathLike[str]) -> int:
    """Bytes between the first and the last of a file's activations, as the runtime lays them out.

    With the reference kernels, which need no room of their own beside them; compare
    `keras_nas.costs.arena_bytes`, which plans the same.

    Args:
        path: A .tflite file.
    """
    interpreter = Interpreter(
        os.fspath(path), experimental_op_resolver_type=OpResolverType.BUILTIN_REF, num_threads=1
    )
    interpreter.allocate_tensors()
    made = {detail["index"] for detail in interpreter.get_input_details()}
    made |= {int(index) for op in interpreter._get_ops_details() for index in op["outputs"]}
    arrays = [interpreter.tensor(index)() for index in made]
    spans = [(a.__array_interface__["data"][0], a.nbytes) for a in arrays]
    return max(start + size for start, size in spans) - min(start for start, _ in spans)
