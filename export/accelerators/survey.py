"""What every accelerator that can be asked here takes of a .tflite."""

from __future__ import annotations

import os
from typing import Any

from ai_edge_litert.interpreter import Interpreter

from export import flatbuffer
from export.accelerators.coverage import Coverage
from export.accelerators.gpu import gpu_coverage
from export.accelerators.xnnpack import xnnpack_coverage
from export.errors import ExportError
from export.quiet import quiet_stderr
from export.random_inputs import prepare


def survey(path: str | os.PathLike[str], size: tuple[int, int] | None = None) -> list[Coverage]:
    """Returns what XNNPACK takes of a file, and the GPU delegate.

    Args:
        path: The .tflite.
        size: Height and width, for a file of dynamic size.

    Raises:
        ExportError: The file cannot be read, or is no model for this runtime.
    """
    model = flatbuffer.read_file(path)
    try:
        with quiet_stderr():
            interpreter = Interpreter(os.fspath(path), num_threads=1)
            prepare(interpreter, size, seed=0)
    except (RuntimeError, ValueError) as error:
        raise ExportError(f"LiteRT cannot run {path}: {error}") from error
    return coverages(model, interpreter)


def coverages(model: Any, interpreter: Any) -> list[Coverage]:
    """As `survey`, of a file that is read and loaded already.

    Args:
        model: What `export.flatbuffer.read` returned.
        interpreter: LiteRT's `Interpreter` of it, with its tensors allocated.
    """
    return [xnnpack_coverage(interpreter), gpu_coverage(model)]
