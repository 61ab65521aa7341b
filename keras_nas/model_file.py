"""Loading a model's file, in Keras's safe mode; what is wrong with it is one line."""

from __future__ import annotations

import os
import re
import zipfile
import zlib

import keras

import keras_nas.layers  # noqa: F401  (gated networks hold its classes)
from keras_nas.errors import KerasNasError
from keras_nas.file_checks import check_model_file

_UNKNOWN = re.compile(r"(?:Could not locate (?:class|function)|Unknown layer:) '([^']+)'")
_CODE = re.compile(r"Lambda.*(?:unsafe|lambda|arbitrary code|safe_mode)", re.DOTALL)
_UNREADABLE = (
    TypeError, ValueError, LookupError, AttributeError, NotImplementedError, RuntimeError, OSError,
    EOFError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def load_model(path: str | os.PathLike[str], name: str = "model") -> keras.Model:
    """Loads a model, uncompiled. Code that the file holds is never executed.

    Args:
        path: A .keras or .h5 file.
        name: The setting that names it, for messages.

    Raises:
        UsageError: If the path ends as no model's file does.
        KerasNasError: If the file is missing, broken or of another kind, or holds classes that this
            program does not know.
    """
    check_model_file(path, name)
    try:
        return keras.models.load_model(path, compile=False)
    except _UNREADABLE as error:
        raise KerasNasError(f"The model {path} {_reason(str(error))}") from error


def _reason(message: str) -> str:
    unknown = _UNKNOWN.search(message)
    if unknown:
        return (
            f"holds the custom class or function {unknown.group(1).split('>')[-1]!r}, which Keras "
            "does not have: build the model without it, or use the library from a program that "
            "registers it (keras.saving.register_keras_serializable)."
        )
    if _CODE.search(message):
        return (
            "holds a Lambda layer, which is code, and code from a file is not executed: build the "
            "model with keras.ops or a layer in its place."
        )
    if "No model config found" in message:
        return "holds weights alone: save the whole model, with model.save(path)."
    first = message.strip().splitlines()[0] if message.strip() else "no reason given"
    return f"cannot be loaded: {first[:300]}"
