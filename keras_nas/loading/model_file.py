"""Loading a model from a file: which kind of file it is, and in one line what is wrong with it."""

from __future__ import annotations

import json
import logging
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras

import keras_nas.layers  # noqa: F401  (gated networks hold its classes)
from keras_nas.errors import KerasNasError
from keras_nas.file_checks import is_saved_model
from keras_nas.loading import keras2, saved_model
from keras_nas.loading.keras2_weights import Stored, stored_in_h5

logger = logging.getLogger(__name__)

FUNCTION = "function"
"""The class name under which Keras stores the name of a user's function."""

CODE = "__lambda__"
"""The class name under which Keras stores a function as code."""


def load_model(path: str | Path, custom_objects: dict[str, Any] | None = None) -> keras.Model:
    """Loads a `.keras` or `.h5` file or a SavedModel's folder, uncompiled, running no code in it.

    A `.h5` file or SavedModel of Keras 2 is rebuilt for Keras 3: arguments that are no more and
    said nothing (`DepthwiseConv2D(groups=1)`, `LSTM(time_major=False)`) are dropped, TensorFlow
    functions become operations of `keras.ops`, Keras 2's hard sigmoid is kept, slashes in names
    become underscores.
    What was mended is logged in one line. The kind of file is told by its content, not its name.

    Example:

    ```python
    model = keras_nas.load_model("wakeword.h5")
    ```

    Args:
        path: The file or the folder.
        custom_objects: Classes and functions by the names they have in the file, beside those that
            are registered with `keras.saving.register_keras_serializable`.

    Returns:
        The model.

    Raises:
        KerasNasError: In one line, if the file is missing, broken, or holds no model; if it holds
            code (a `Lambda`), a class that is not known, or what Keras 3 cannot do.
    """
    path = Path(path)
    if not path.exists():
        raise KerasNasError(f"A model's file must be there. Received: {path}, which does not exist")
    if is_saved_model(path):
        found = saved_model.read(path)
        return _rebuilt(path, found.config, found.stored, found.version, custom_objects)
    if path.is_dir():
        raise KerasNasError(
            f"'{path}' is a folder, and no SavedModel (no saved_model.pb in it): give a .keras or "
            ".h5 file."
        )
    start = _first_bytes(path)
    if start.startswith(b"PK"):
        return _load_keras(path, custom_objects)
    if start == b"\x89HDF\r\n\x1a\n":
        return _load_h5(path, custom_objects)
    raise KerasNasError(
        f"'{path}' is neither a .keras nor a .h5 file, or it is broken from its first byte on."
    )


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(8)
    except OSError as error:
        raise KerasNasError(f"'{path}' cannot be read: {error.strerror}.") from error


def _load_keras(path: Path, custom_objects) -> keras.Model:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            damaged = archive.testzip()
            config = archive.read("config.json") if "config.json" in names else None
            metadata = archive.read("metadata.json") if "metadata.json" in names else b"{}"
        contents = json.loads(config) if config is not None else None
        version = str(json.loads(metadata).get("keras_version", "unknown"))
    except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
        raise KerasNasError(f"The file '{path}' is broken: {error}") from error
    if damaged is not None:
        raise KerasNasError(f"The file '{path}' is broken: '{damaged}' in it is damaged.")
    if contents is None:
        raise KerasNasError(f"'{path}' is a zip file without a Keras model (no config.json in it).")
    _refuse_code(path, contents)
    try:
        return keras.saving.load_model(
            path, custom_objects=custom_objects, compile=False, safe_mode=True
        )
    except KerasNasError:
        raise
    except Exception as error:
        raise _failure(path, version, error, contents, custom_objects) from error


def _refuse_code(path: Path, config: Any, layer: str = "a layer"):
    """Refuses a configuration with a function that is stored as code."""
    if isinstance(config, dict):
        if config.get("class_name") == CODE:
            raise KerasNasError(
                f"'{layer}' in '{path}' is a Lambda, whose function is stored as code, and code "
                "from files is not run: rebuild the model with a layer or operation of Keras."
            )
        own = config.get("config")
        if isinstance(own, dict) and isinstance(own.get("name"), str):
            layer = own["name"]
    for part in config.values() if isinstance(config, dict) else config:
        if isinstance(part, (dict, list)):
            _refuse_code(path, part, layer)


def _failure(path, version, error, contents=None, custom_objects=None) -> KerasNasError:
    """The error for a whole file that Keras does not load."""
    for class_name, name in _unknown_classes(contents, custom_objects or {}):
        kind = "is" if class_name == FUNCTION else f"is of class '{class_name}', which is"
        return KerasNasError(
            f"'{name}' in '{path}' {kind} not known here: import the "
            "module that registers it (keras.saving.register_keras_serializable), or pass it in "
            "`custom_objects` (--custom_objects=module:Name)."
        )
    reason = [line for line in str(error).splitlines() if line.strip()][-1:]
    return KerasNasError(
        f"'{path}', written by Keras {version}, does not load in Keras {keras.__version__}: "
        f"{reason[0].strip() if reason else type(error).__name__}"
    )


def _unknown_classes(config: Any, custom_objects: dict[str, Any]) -> list[tuple[str, str]]:
    """The user's classes that a configuration names and nobody registered, with their names."""
    if isinstance(config, list):
        return [found for part in config for found in _unknown_classes(part, custom_objects)]
    if not isinstance(config, dict):
        return []
    found: list[tuple[str, str]] = []
    class_name, registered = config.get("class_name"), config.get("registered_name")
    own = config.get("config")
    if class_name and registered and not str(config.get("module") or "").startswith("keras"):
        names = {registered, class_name, own if isinstance(own, str) else registered}
        known = any(keras.saving.get_registered_object(n, custom_objects) for n in names)
        if not known:
            name = own.get("name", class_name) if isinstance(own, dict) else own or class_name
            found.append((registered, str(name)))
    return found + [
        deeper for part in config.values() for deeper in _unknown_classes(part, custom_objects)
    ]


def _load_h5(path: Path, custom_objects) -> keras.Model:
    try:
        with h5py.File(path, "r") as file:
            if "model_config" not in file.attrs:
                raise KerasNasError(
                    f"'{path}' holds weights only, no model: build the model in Python and call "
                    "its load_weights, then save it as .keras."
                )
            version = file.attrs.get("keras_version", "1")
            version = version.decode() if isinstance(version, bytes) else str(version)
            config = json.loads(file.attrs["model_config"])
            if version.startswith("2."):
                stored = stored_in_h5(file["model_weights"])
                return _rebuilt(path, config, stored, version, custom_objects)
            _refuse_code(path, config)
    except (OSError, KeyError, RuntimeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise KerasNasError(f"The file '{path}' is broken: {error}") from error
    try:
        return keras.saving.load_model(
            path, custom_objects=custom_objects, compile=False, safe_mode=True
        )
    except Exception as error:
        raise _failure(path, version, error) from error


def _rebuilt(path: Path, config: Any, stored: Stored, version: str, custom_objects) -> keras.Model:
    try:
        model, mended = keras2.rebuild(config, stored, custom_objects)
    except KerasNasError as error:
        raise KerasNasError(f"'{path}' (Keras {version}): {error}") from error
    if mended:
        listed = "; ".join(
            f"{what} ({count} times)" if count > 1 else what for what, count in mended.items()
        )
        logger.warning("'%s' of Keras %s is mended for Keras 3: %s", path, version, listed)
    return model
