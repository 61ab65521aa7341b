"""The settings of apps.export."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from export.export_options import FORMATS, METADATA_TASKS, METRIC_NAMES, ExportOptions
from keras_nas.data.picture_settings import PictureSettings
from keras_nas.data.registry import check_place, names
from keras_nas.errors import UsageError
from keras_nas.file_checks import (
    check_data_directory,
    check_input_file,
    check_model_file,
    check_output_folder,
)
from keras_nas.settings import check_choices, check_range, group, setting


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """Which model to export, in which formats, with which data."""

    model: str = setting("", "The .keras or .h5 file.")
    formats: tuple[str, ...] = setting(("float32",), f"Formats, of {', '.join(FORMATS)}.")
    output_dir: str = setting("", "Folder for the .tflite files; by default the model's.")
    name: str = setting("", "Start of the files' names; by default the model's file name.")
    data: str = setting(
        "",
        "Data for ranges, training and comparison: a data set's name or an .npz file with the "
        "arrays x, y (held out) and train_x, train_y. Without it the comparison is on random "
        "inputs, and int8, int16x8 and qat are not possible.",
    )
    data_dir: str = setting("", "Where the data set is; by default its own place.")
    metric: str = setting("top1", "Task metric of an .npz file's data.", ("none", *METRIC_NAMES))
    seed: int = setting(0, "Seed of the data's choice and order.")
    pictures: PictureSettings = group(PictureSettings())
    options: ExportOptions = group(ExportOptions())
    input_size: tuple[int, ...] = setting((), "Height and width of a model without fixed ones.")
    dynamic_sizes: tuple[str, ...] = setting(
        (), "Sizes such as 240x320 that a file of dynamic size must run at."
    )
    metadata: bool = setting(False, "Write metadata (Python 3.11 or older).")
    task: str = setting("classification", "Task that the metadata name.", METADATA_TASKS)
    description: str = setting("", "What the model does, for the metadata.")
    labels: str = setting("", "Text file of class names, a line each; by default the data set's.")
    mean: tuple[float, ...] = setting((), "A pixel v enters as (v - mean) / std; v is 0 to 255.")
    std: tuple[float, ...] = setting((), "See --mean; by default the data set's, else 0 and 255.")
    author: str = setting("", "Author, for the metadata.")
    license: str = setting("", "Licence, for the metadata.")
    architecture: str = setting(
        "", "architecture.json of the search, whose method and costs the metadata name."
    )

    def __post_init__(self):
        check_choices(self)
        unknown = sorted(set(self.formats) - set(FORMATS))
        if unknown or not self.formats:
            raise UsageError(
                f"`formats` must be some of {FORMATS}. Received: formats={self.formats}"
            )
        if len(self.input_size) not in (0, 2):
            raise UsageError(
                f"`input_size` must be a height and a width. Received: {self.input_size}"
            )
        self.sizes()
        check_range(self, ("seed",), 0)

    def sizes(self) -> tuple[tuple[int, int], ...]:
        """`dynamic_sizes` as numbers."""
        return tuple(map(_size, self.dynamic_sizes))

    @property
    def folder(self) -> Path:
        """Where the .tflite files go."""
        return Path(self.output_dir) if self.output_dir else Path(self.model).parent

    def check_paths(self) -> None:
        """Looks at the files and folders that are read and written; needs no TensorFlow.

        Raises:
            UsageError: If `model` names no .keras or .h5 file, or `data` is none.
            KerasNasError: If one is missing or of another kind, or cannot be written to.
        """
        check_model_file(self.model)
        is_file = self.data.endswith(".npz")
        if self.data and not is_file and self.data not in names("classification"):
            raise UsageError(
                f"`data` must be one of {names('classification')} or an .npz file. "
                f"Received: data={self.data!r}"
            )
        if self.data in names():
            check_place(self.data, self.data_dir)
        else:
            check_data_directory(self.data_dir)
        for name in ("labels", "architecture"):
            if getattr(self, name):
                check_input_file(getattr(self, name), name)
        check_output_folder(self.folder, "output_dir")


def _size(text: str) -> tuple[int, int]:
    parts = text.split("x")
    if len(parts) != 2 or not all(part.isdigit() for part in parts):
        raise UsageError(f"A size must read like 240x320. Received: {text!r}")
    return int(parts[0]), int(parts[1])
