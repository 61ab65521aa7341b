"""Data as it is named on the command line: a path of the user's own, or a data set's name."""

from __future__ import annotations

from pathlib import Path

from keras_nas.data import registry
from keras_nas.data.class_folders import TRAIN, folder_of_part
from keras_nas.data.images import IMAGE_SUFFIXES
from keras_nas.errors import KerasNasError, UsageError


def data_source(data: str, data_dir: str) -> tuple[str, str]:
    """The data set's name, and where it stands.

    Args:
        data: A data set's name, or a folder or file.
        data_dir: Where a data set by name is.

    Raises:
        UsageError: `data` is not given, or is neither a path nor a data set's name.
        KerasNasError: It is a folder without pictures, folders of them, or another file.
    """
    if data in registry.names():
        return data, data_dir
    path = Path(data).expanduser()
    if not data or not path.exists():
        raise UsageError(
            "`data` must name a folder, a .csv or .npz file, or one of "
            f"{', '.join(registry.names())}. Received: data={data!r}"
            + (", which does not exist" if data else "")
        )
    if path.is_file():
        in_files = registry.by_suffix()
        if path.suffix.lower() not in in_files:
            raise KerasNasError(
                f"`data` must be a folder, or end in {' or '.join(in_files)}. Received: {path}"
            )
        return in_files[path.suffix.lower()], str(path)
    return _kind_of_folder(path), str(path)


def _kind_of_folder(folder: Path) -> str:
    """The data set that a folder of this layout is."""
    if any((part / "labels").is_dir() for part in (folder, *folder.iterdir()) if part.is_dir()):
        return "segmentation_folders"
    inside = list(folder.iterdir())
    if any(path.suffix.lower() in IMAGE_SUFFIXES for path in inside) or (folder / "HR").is_dir():
        return "folder"
    classes = folder_of_part(folder, TRAIN) or folder
    if sum(path.is_dir() and not path.name.startswith(".") for path in classes.iterdir()) < 2:
        raise KerasNasError(
            f"`{classes}` holds neither pictures nor a folder of pictures for each of two or more "
            "classes (or train, validation and test with them): give the folder above them."
        )
    return "class_folders"
