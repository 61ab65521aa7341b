"""The settings of apps.evaluate_sr."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from keras_nas.errors import KerasNasError, UsageError
from keras_nas.file_checks import (
    check_input_file,
    check_model_file,
    check_output_file,
    check_output_folder,
    is_model_file,
)
from keras_nas.settings import check_choices, check_range, setting


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
        if self.model.endswith(".tflite"):
            check_input_file(self.model, "model")
        elif is_model_file(self.model):
            check_model_file(self.model)
        else:
            raise UsageError(
                "`model` must name a .keras, .h5 or .tflite file (--model). "
                f"Received: model={self.model!r}"
            )
        if not Path(self.folder).is_dir():
            raise KerasNasError(f"`folder` must be a folder. Received: {self.folder}")
        if self.output:
            check_output_file(self.output)
        if self.triptychs:
            check_output_folder(self.triptychs, "triptychs")
