"""The settings of apps.evaluate and apps.evaluate_sr."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from apps.data_source import data_source
from keras_nas.data.picture_settings import PictureSettings
from keras_nas.data.registry import check_place, task_of
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.file_checks import (
    check_model_file,
    check_output_file,
    check_output_folder,
)
from keras_nas.settings import check_choices, check_range, group, setting


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """Which file to evaluate, and on what."""

    model: str = setting("", "The .keras, .h5 or .tflite file.")
    data: str = setting(
        "cifar10",
        "A folder with a folder of pictures for each class, a .csv of paths and labels, an .npz "
        "file; tfds:NAME; or another data set's name.",
    )
    data_dir: str = setting("", "Where a data set by name is; by default its own place.")
    split: str = setting("test", "Part of the data.", ("test", "validation"))
    validation_share: float = setting(0.1, "Share of the training set that is held back.")
    seed: int = setting(0, "Seed of the held-back share.")
    batch_size: int = setting(128, "Batch size (of a Keras model).")
    image_size: int = setting(0, "Side of the images in pixels; 0 for what the model takes.")
    pictures: PictureSettings = group(PictureSettings())

    def __post_init__(self):
        check_choices(self)
        check_range(self, ("batch_size",), 1)
        check_range(self, ("seed", "image_size", "validation_share"), 0)
        if self.split == "validation" and not self.validation_share:
            raise UsageError("split='validation' needs `validation_share` above 0. Received: 0")

    def check_paths(self) -> None:
        """Looks at the model's file and the data's folder; needs no TensorFlow.

        Raises:
            UsageError: If `model` names no .keras, .h5 or .tflite file, or `data` none of classes.
            KerasNasError: If the file is missing or of another kind, or the folder is missing.
        """
        check_model_file(self.model, or_tflite=True)
        name, place = self.data_source()
        if task_of(name) != "classification":
            raise UsageError(
                f"`data` must be for classification; '{name}' is for {task_of(name)}. "
                f"Received: data={self.data!r}"
            )
        check_place(name, place)

    def data_source(self) -> tuple[str, str]:
        """The data set's name, and where it stands; see `apps.data_source`."""
        return data_source(self.data, self.data_dir)


@dataclasses.dataclass(frozen=True)
class SuperResolutionEvaluationConfig:
    """Which file to score, on which images."""

    model: str = setting("", "The .keras, .h5 or .tflite file.")
    folder: str = setting("", "Images: Set5, Set14, B100, Urban100 or any folder of them.")
    scale: int = setting(2, "High over low resolution.")
    value_range: int = setting(1, "The value of white in the model.", (1, 255))
    shrink: int = setting(1, "Make each image smaller by this factor first (JPEG photographs).")
    tile: int = setting(192, "Side of a tile at low resolution, in pixels.")
    overlap: int = setting(-1, "Pixels around a tile that the model sees too; -1 for all it needs.")
    output: str = setting("", "JSON file for the scores; none by default.")
    triptychs: str = setting("", "Folder for bicubic / model / truth images; none by default.")

    def __post_init__(self):
        check_choices(self)
        check_range(self, ("tile", "shrink"), 1)
        check_range(self, ("overlap",), -1)
        check_range(self, ("scale",), 2)

    def check_paths(self) -> None:
        """Looks at the files and folders that are read and written; needs no TensorFlow.

        Raises:
            UsageError: If `folder` is not given, or `model` names no .keras, .h5 or .tflite file.
            KerasNasError: If one is missing or of another kind, or cannot be written to.
        """
        if not self.folder:
            raise UsageError(
                "`folder` must name a folder of images (--folder). Received: folder=''"
            )
        check_model_file(self.model, or_tflite=True)
        if not Path(self.folder).is_dir():
            raise KerasNasError(f"`folder` must be a folder. Received: {self.folder}")
        if self.output:
            check_output_file(self.output)
        if self.triptychs:
            check_output_folder(self.triptychs, "triptychs")
