"""What can go wrong between a model and its .tflite."""

from __future__ import annotations

from keras_nas.errors import KerasNasError


class ExportError(KerasNasError):
    """The model cannot be exported as asked; the message says why and what would work."""


class UnsupportedOperationError(ExportError):
    """The model needs operations that the built-in kernels do not have.

    Attributes:
        operations: Their names, sorted.
    """

    def __init__(self, message: str, operations: list[str]):
        super().__init__(message)
        self.operations = operations


class ParityError(ExportError):
    """The exported file computes something else than the model, beyond the stated tolerance."""
