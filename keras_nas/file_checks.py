"""Looking at the files and folders of a command before any work, without TensorFlow."""

from __future__ import annotations

import contextlib
import os
import tempfile
import zipfile
from pathlib import Path

from keras_nas.errors import KerasNasError, UsageError

MODEL_SUFFIXES = (".keras", ".h5", ".hdf5")
SAVED_MODEL, KERAS_METADATA = "saved_model.pb", "keras_metadata.pb"
"""What tells the folder of a SavedModel, and that it holds a Keras model."""
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_KERAS_MEMBERS = ("config.json", "model.weights.h5")


def check_output_folder(path: str | os.PathLike[str], name: str = "folder") -> None:
    """Finds out before any work whether files can be written into a folder, which need not exist.

    It is tried: missing folders are made, a file is written, and both are removed again.

    Args:
        path: The folder.
        name: The setting that names it, for the message.

    Raises:
        KerasNasError: A file is in the way, or the folder cannot be made or written to.
    """
    folder = Path(path)
    made: list[Path] = []
    try:
        for place in reversed((folder, *folder.parents)):
            if not place.exists():
                place.mkdir(exist_ok=True)
                made.append(place)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".keras_nas_"):
            pass
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise KerasNasError(
            f"`{name}` must be a folder that files can be written to. Received: {path} ({reason})"
        ) from error
    finally:
        for place in reversed(made):
            with contextlib.suppress(OSError):  # another process may have begun to use it
                place.rmdir()


def check_output_file(path: str | os.PathLike[str], name: str = "output") -> None:
    """Finds out before any work whether a file can be written at `path`; see the above.

    Raises:
        KerasNasError: `path` is a folder, or its folder cannot be made or written to.
    """
    if Path(path).is_dir():
        raise KerasNasError(f"`{name}` must be a file. Received: {path}, which is a folder")
    check_output_folder(Path(path).parent, f"{name}'s folder")


def check_input_file(path: str | os.PathLike[str], name: str) -> None:
    """Finds out before any work whether a file is there to be read.

    Raises:
        KerasNasError: There is none, it is a folder, or it cannot be opened.
    """
    try:
        with open(path, "rb"):
            return
    except FileNotFoundError as error:
        raise KerasNasError(
            f"`{name}` must be a file. Received: {path}, which does not exist"
        ) from error
    except IsADirectoryError as error:
        raise KerasNasError(
            f"`{name}` must be a file. Received: {path}, which is a folder"
        ) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise KerasNasError(
            f"`{name}` must be a file that can be read. Received: {path} ({reason})"
        ) from error


def check_data_directory(data_dir: str | os.PathLike[str] | None, suffix: str = "") -> None:
    """Raises `KerasNasError` for a `data_dir` that is given and is no folder.

    Args:
        data_dir: The folder.
        suffix: Of a file that it may be in its place, such as ".csv".
    """
    if not data_dir or Path(data_dir).expanduser().is_dir():
        return
    place = Path(data_dir).expanduser()
    if not (suffix and place.is_file() and place.suffix.lower() == suffix):
        raise KerasNasError(
            "`data_dir` must be the folder that holds the data"
            + (f", or a {suffix} file" if suffix else "")
            + f". Received: {data_dir}, which "
            + ("is a file" if place.exists() else "does not exist")
        )


def only_file(place: str | os.PathLike[str] | None, suffix: str) -> Path:
    """A file that `data_dir` names, by itself or by the folder that holds no other of its kind.

    Args:
        place: The file or the folder.
        suffix: How the file ends, such as ".csv".

    Raises:
        UsageError: No place is given.
        KerasNasError: There is no such file, or more than one.
    """
    if not place:
        raise UsageError(f"`data_dir` must name a {suffix} file, or its folder. Received: none")
    check_data_directory(place, suffix)
    path = Path(place).expanduser()
    if path.is_file():
        return path
    found = sorted(each.name for each in path.iterdir() if each.suffix.lower() == suffix)
    if len(found) != 1:
        raise KerasNasError(
            f"`data_dir` must name a {suffix} file, or a folder that holds one alone. Received: "
            f"{place}, which holds {' and '.join(found[:2]) + ' …' * (len(found) > 2) or 'none'}"
        )
    return path / found[0]


def is_model_file(name: str) -> bool:
    """Whether a name ends as a whole model's file does, or is of a SavedModel's folder."""
    return name.lower().endswith(MODEL_SUFFIXES) or is_saved_model(name)


def is_saved_model(path: str | os.PathLike[str]) -> bool:
    """Whether a path is of a SavedModel's folder."""
    return Path(path, SAVED_MODEL).is_file()


def check_model_file(
    path: str | os.PathLike[str], name: str = "model", or_tflite: bool = False
) -> None:
    """Looks at a model's file without building the model; nothing is said of what it holds.

    Args:
        path: The file.
        name: The setting that names it, for messages.
        or_tflite: Whether it may be a .tflite, of which only is asked whether it can be read.

    Raises:
        UsageError: The path ends in none of `MODEL_SUFFIXES`, nor .tflite where that may be.
        KerasNasError: The file is missing, broken or of another kind.
    """
    if is_saved_model(path):
        check_saved_model(path)
        return
    is_tflite = or_tflite and str(path).endswith(".tflite")
    if not is_tflite and not is_model_file(str(path)):
        kinds = ".keras, .h5 or .tflite" if or_tflite else ".keras or .h5"
        raise UsageError(
            f"`{name}` must name a {kinds} file (--{name}). Received: {name}={str(path)!r}"
        )
    check_input_file(path, name)
    if is_tflite:
        return
    if str(path).lower().endswith(".keras"):
        _check_keras(path)
    else:
        with open(path, "rb") as file:
            if file.read(len(_HDF5_MAGIC)) != _HDF5_MAGIC:
                raise KerasNasError(f"The model {path} is no HDF5 file: {_damaged(path)}.")


def check_saved_model(path: str | os.PathLike[str]) -> None:
    """Raises `KerasNasError` for a SavedModel of which no Keras model can be made."""
    if not Path(path, KERAS_METADATA).is_file():
        raise KerasNasError(
            f"The SavedModel {path} holds no Keras model, only its computation (no "
            f"{KERAS_METADATA}, as model.export of Keras 3 and tf.saved_model.save leave it): save "
            "the model by the code that made it, as model.save('model.keras')."
        )


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
