"""Running a .tflite with LiteRT: floats in, floats out, whatever the file's own types are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from export.errors import ExportError
from export.quiet import quiet_stderr


class Runner:
    """A loaded model.

    Example:
        runner = Runner("small_int8.tflite")
        (probabilities,) = runner([image[None]])

    Args:
        model: The file's path, or its content.
        threads: How many threads the kernels may use.

    Raises:
        ExportError: The file cannot be read or is no model for this runtime.
    """

    def __init__(self, model: str | os.PathLike[str] | bytes, threads: int = 1):
        content = model if isinstance(model, bytes) else _read(model)
        self._sizes: list[tuple[int, ...]] = []
        try:
            with quiet_stderr():
                self._interpreter = Interpreter(model_content=content, num_threads=threads)
                if not self.dynamic:  # else `resize` allocates
                    self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ExportError(f"LiteRT cannot run the model: {error}") from error

    @property
    def input_names(self) -> list[str]:
        """Names by the model's signature, else by its tensors, in the order of the inputs."""
        return self._names("input", self._interpreter.get_input_details())

    @property
    def output_names(self) -> list[str]:
        """As `input_names`, for the outputs."""
        return self._names("output", self._interpreter.get_output_details())

    @property
    def input_shapes(self) -> list[tuple[int, ...]]:
        """The shapes that the next call must have."""
        return [tuple(map(int, d["shape"])) for d in self._interpreter.get_input_details()]

    @property
    def batch_shapes(self) -> list[tuple[int, ...]]:
        """The inputs' shapes, with a batch of 1 where it may change."""
        details = self._interpreter.get_input_details()
        shapes = [tuple(map(int, d["shape_signature"])) for d in details]
        return [(max(shape[0], 1), *shape[1:]) if shape else shape for shape in shapes]

    @property
    def output_shapes(self) -> list[tuple[int, ...]]:
        """The outputs' shapes for inputs of `input_shapes`."""
        return [tuple(map(int, d["shape"])) for d in self._interpreter.get_output_details()]

    @property
    def input_dtypes(self) -> list[str]:
        """The types of the file's own inputs."""
        return [np.dtype(d["dtype"]).name for d in self._interpreter.get_input_details()]

    @property
    def dynamic(self) -> bool:
        """Whether an input has a size that may change."""
        details = self._interpreter.get_input_details()
        return any(-1 in d["shape_signature"] for d in details)

    def resize(self, shapes: Sequence[tuple[int, ...]]) -> None:
        """Prepares the model for inputs of other shapes.

        Raises:
            RuntimeError: The model does not work with them.
        """
        for detail, shape in zip(self._interpreter.get_input_details(), shapes, strict=True):
            self._interpreter.resize_tensor_input(detail["index"], list(shape), strict=True)
        with quiet_stderr():
            self._interpreter.allocate_tensors()
        self._sizes = list(shapes)

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Runs the model once.

        Args:
            inputs: One array for each input, in their order, of the input's shape. Real numbers;
                they are quantised where the file's input is an integer with a scale.

        Returns:
            One array for each output, dequantised to float32 where it has a scale.

        Raises:
            ExportError: The file does not take inputs of these shapes, or fails on them.
        """
        details = self._interpreter.get_input_details()
        for name, detail, array in zip(self.input_names, details, inputs, strict=True):
            expected = tuple(map(int, detail["shape_signature"]))
            if not fits(np.shape(array), expected):
                raise ExportError(
                    f"The data must fit the file's input `{name}` of shape {expected}. "
                    f"Received: an array of shape {np.shape(array)}"
                )
        shapes = [np.shape(array) for array in inputs]
        if self.dynamic and shapes != self._sizes:
            self.resize(shapes)
        for detail, array in zip(details, inputs, strict=True):
            self._interpreter.set_tensor(detail["index"], quantize(np.asarray(array), detail))
        try:
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            text = " ".join(str(error).split())
            raise ExportError(f"The .tflite file fails on the data: {text}") from error
        return [
            dequantize(self._interpreter.get_tensor(detail["index"]), detail)
            for detail in self._interpreter.get_output_details()
        ]

    def _names(self, kind: str, details: list[dict]) -> list[str]:
        keys = list(self._interpreter.get_signature_list())
        if not keys:
            return [detail["name"] for detail in details]
        signature = self._interpreter.get_signature_runner(keys[0])
        named = getattr(signature, f"get_{kind}_details")()
        names = {detail["index"]: name for name, detail in named.items()}
        return [names.get(detail["index"], detail["name"]) for detail in details]


def fits(shape: Sequence[int], expected: Sequence[int | None]) -> bool:
    """Whether an array's shape is the expected one, in which None and -1 stand for any size."""
    return len(shape) == len(expected) and all(
        wanted in (None, -1, size) for size, wanted in zip(shape, expected, strict=True)
    )


def _read(path: str | os.PathLike[str]) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ExportError(f"Cannot read the model {path}: {error.strerror}.") from error


def quantize(array: np.ndarray, detail: dict) -> np.ndarray:
    """Returns real numbers as the tensor `detail` of the interpreter holds them."""
    scale, zero_point = detail["quantization"]
    dtype = np.dtype(detail["dtype"])
    if not scale or not np.issubdtype(dtype, np.integer):
        return array.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.round(array / scale) + zero_point, limits.min, limits.max).astype(dtype)


def dequantize(array: np.ndarray, detail: dict) -> np.ndarray:
    """Returns what the tensor `detail` of the interpreter holds as real numbers."""
    scale, zero_point = detail["quantization"]
    if not scale or not np.issubdtype(array.dtype, np.integer):
        return array
    return ((array.astype(np.float32) - zero_point) * np.float32(scale)).astype(np.float32)
