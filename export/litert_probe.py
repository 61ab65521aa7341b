"""A child process of the host benchmark: peak memory and operation times of one model.

`python -m export.litert_probe memory MODEL THREADS XNNPACK [HEIGHT WIDTH]` prints bytes;
`python -m export.litert_probe profile MODEL THREADS RUNS` prints LiteRT's table of operations.

Alone in its process, a model's memory is its own, and a runtime whose C interface has changed
takes nobody down with it.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any

import ai_edge_litert

_CPU = 1
_MEMORY_RUNS = 5
_WARMUP = 5
_LARGEST_TENSOR_TYPE = 1024
_POINTER = ctypes.c_void_p


def peak_memory(path: str, threads: int, use_xnnpack: bool, size: tuple[int, int] | None) -> int:
    """Returns by how many bytes the process's peak memory grows through loading and running."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    from export.random_inputs import prepare

    resolver = (
        OpResolverType.AUTO if use_xnnpack else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from here
    before = _status("VmHWM")
    interpreter = Interpreter(path, num_threads=threads, experimental_op_resolver_type=resolver)
    prepare(interpreter, size, seed=0)
    for _ in range(_MEMORY_RUNS):
        interpreter.invoke()
    return _status("VmHWM") - before


class Profiler:
    """LiteRT's compiled model with its profiler, through the library's C interface.

    The Python package compiles models too but cannot switch the profiler on.
    """

    def __init__(self, path: str, threads: int):
        folder = Path(ai_edge_litert.__file__).parent
        self._library = ctypes.CDLL(str(folder / "libLiteRt.so"))
        self._kept: list[Any] = []
        self._environment = self._make("LiteRtCreateEnvironment", 0, None)
        self._model = self._make("LiteRtCreateModelFromFile", self._environment, path.encode())
        options = self._make("LiteRtCreateOptions")
        self._call("LiteRtSetOptionsHardwareAccelerators", options, _CPU)
        self._add_option(options, b"runtime_options_string", b"enable_profiling = true\n")
        self._add_option(options, b"xnnpack", b"num_threads = %d\n" % threads)
        self._compiled = self._make(
            "LiteRtCreateCompiledModel", self._environment, self._model, options
        )
        self._inputs = self._buffers("Input")
        self._outputs = self._buffers("Output")
        self._profiler = self._make("LiteRtCompiledModelGetProfiler", self._compiled)

    def profile(self, runs: int) -> str:
        """Runs the model and returns the library's table of operations, summed over the runs."""
        for _ in range(_WARMUP):
            self._run()
        self._call("LiteRtStartProfiler", self._profiler)
        for _ in range(runs):
            self._run()
        self._call("LiteRtStopProfiler", self._profiler)
        summary = ctypes.c_char_p()
        self._call("LiteRtGetProfileSummary", self._profiler, self._compiled, ctypes.byref(summary))
        return (summary.value or b"").decode()

    def _run(self) -> None:
        self._call(
            "LiteRtRunCompiledModel",
            self._compiled,
            ctypes.c_size_t(0),
            ctypes.c_size_t(len(self._inputs)),
            self._inputs,
            ctypes.c_size_t(len(self._outputs)),
            self._outputs,
        )

    def _buffers(self, kind: str) -> Any:
        """Returns tensor buffers for all inputs ("Input") or outputs of the first signature."""
        signature = self._make("LiteRtGetModelSignature", self._model, ctypes.c_size_t(0))
        count = ctypes.c_size_t()
        self._call(f"LiteRtGetNumSignature{kind}s", signature, ctypes.byref(count))
        buffers = []
        for number in range(count.value):
            index = ctypes.c_size_t(number)
            tensor = self._make(f"LiteRtGetSignature{kind}TensorByIndex", signature, index)
            tensor_type = ctypes.create_string_buffer(_LARGEST_TENSOR_TYPE)
            self._call("LiteRtGetRankedTensorType", tensor, tensor_type)
            needs = self._make(
                f"LiteRtGetCompiledModel{kind}BufferRequirements",
                self._compiled,
                ctypes.c_size_t(0),
                index,
            )
            buffers.append(
                self._make(
                    "LiteRtCreateManagedTensorBufferFromRequirements",
                    self._environment,
                    tensor_type,
                    needs,
                )
            )
        return (_POINTER * count.value)(*[buffer.value for buffer in buffers])

    def _add_option(self, options: Any, identifier: bytes, text: bytes) -> None:
        keep = ctypes.CFUNCTYPE(None, _POINTER)(lambda pointer: None)
        payload = ctypes.create_string_buffer(text)
        self._kept += [identifier, payload, keep]
        option = self._make(
            "LiteRtCreateOpaqueOptions", identifier, ctypes.cast(payload, _POINTER), keep
        )
        self._call("LiteRtAddOpaqueOptions", options, option)

    def _make(self, function: str, *arguments: Any) -> Any:
        """Calls a function that puts a handle into its last argument, and returns the handle."""
        handle = _POINTER()
        self._call(function, *arguments, ctypes.byref(handle))
        return handle

    def _call(self, function: str, *arguments: Any) -> None:
        status = getattr(self._library, function)(*arguments)
        if status:
            raise RuntimeError(f"{function} failed with status {status}")


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"/proc/self/status tells no {field}")


def main(arguments: list[str]) -> None:
    what, path, threads, setting, *size = arguments
    if what == "memory":
        shape = (int(size[0]), int(size[1])) if size else None
        print(peak_memory(path, int(threads), setting == "1", shape))
    else:
        print(Profiler(path, int(threads)).profile(int(setting)))


if __name__ == "__main__":
    main(sys.argv[1:])
