"""Loading a model's file, in Keras's safe mode; what is wrong with it is one line."""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from pathlib import Path

import keras

import keras_nas.layers  # noqa: F401  (gated networks hold its classes)
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.files import check_input_file

SUFFIXES = (".keras", ".h5", ".hdf5")
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_KERAS_MEMBERS = ("config.json", "model.weights.h5")
_UNKNOWN = re.compile(r"(?:Could not locate (?:class|function)|Unknown layer:) '([^']+)'")
_CODE = re.compile(r"Lambda.*(?:unsafe|lambda|arbitrary code|safe_mode)", re.DOTALL)
_UNREADABLE = (
    TypeError, ValueError, LookupError, AttributeError, NotImplementedError, RuntimeError, OSError,
    EOFError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def is_model_file(name: str) -> bool:
    """Whether a name ends as the files do that `load_model` reads."""
    return name.lower().endswith(SUFFIXES)


def load_model(path: str | os.PathLike[str], name: str = "model") -> keras.Model:
    """Loads a model, uncompiled. Code that the file holds is never executed.

    Args:
        path: A .keras or .h5 file.
        name: The setting that names it, for messages.

    Raises:
        UsageError: If the path ends in none of `SUFFIXES`.
        KerasNasError: If the file is missing, broken or of another kind, or holds classes that this
            program does not know.
    """
    check_model_file(path, name)
    try:
        return keras.models.load_model(path, compile=False)
    except _UNREADABLE as error:
        raise KerasNasError(f"The model {path} {_reason(str(error))}") from error


def check_model_file(path: str | os.PathLike[str], name: str = "model") -> None:
    """Looks at a model's file without building the model; raises as `load_model`."""
    if not is_model_file(str(path)):
        raise UsageError(
            f"`{name}` must be a .keras or .h5 file (--{name}). Received: {name}={str(path)!r}"
        )
    check_input_file(path, name)
    if str(path).lower().endswith(".keras"):
        _check_keras(path)
    else:
        with open(path, "rb") as file:
            if file.read(len(_HDF5_MAGIC)) != _HDF5_MAGIC:
                raise KerasNasError(f"The model {path} is no HDF5 file: {_damaged(path)}.")


def _check_keras(path: str | os.PathLike[str]) -> None:
    if not zipfile.is_zipfile(path):
        raise KerasNasError(
            f"The model {path} is no .keras file (a zip archive): {_damaged(path)}."
        )
    with zipfile.ZipFile(path) as archive:
        missing = sorted(set(_KERAS_MEMBERS) - set(archive.namelist()))
    if missing:
        raise KerasNasError(
            f"The model {path} is no .keras file: the archive lacks {' and '.join(missing)}."
        )


def _damaged(path: str | os.PathLike[str]) -> str:
    size = Path(path).stat().st_size
    return f"it is cut short, or another kind of file ({size:,} bytes)"


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
