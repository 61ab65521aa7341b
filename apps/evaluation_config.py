"""The settings of apps.evaluate."""

from __future__ import annotations

import dataclasses

from keras_nas.data.registry import names
from keras_nas.errors import UsageError
from keras_nas.file_checks import (
    check_data_directory,
    check_input_file,
    check_model_file,
    is_model_file,
)
from keras_nas.settings import check_choices, check_range, setting


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """Which file to evaluate, and on what."""

    model: str = setting("", "The .keras, .h5 or .tflite file.")
    data: str = setting("cifar10", "Data set.", lambda: names("classification"))
    data_dir: str = setting("", "Where the data is; by default the data set's own place.")
    split: str = setting("test", "Part of the data.", ("test", "validation"))
    validation_share: float = setting(0.1, "Share of the training set that is held back.")
    seed: int = setting(0, "Seed of the held-back share.")
    batch_size: int = setting(128, "Batch size (of a Keras model).")
    image_size: int = setting(0, "Side of the images in pixels; 0 for the data set's own.")

    def __post_init__(self):
        check_choices(self)
        check_range(self, ("batch_size",), 1)
        check_range(self, ("seed", "image_size", "validation_share"), 0)
        if self.split == "validation" and not self.validation_share:
            raise UsageError("split='validation' needs `validation_share` above 0. Received: 0")

    def check_paths(self) -> None:
        """Looks at the model's file and the data's folder; needs no TensorFlow.

        Raises:
            UsageError: If `model` names no .keras, .h5 or .tflite file.
            KerasNasError: If the file is missing or of another kind, or the folder is missing.
        """
        if self.model.endswith(".tflite"):
            check_input_file(self.model, "model")
        elif is_model_file(self.model):
            check_model_file(self.model)
        else:
            raise UsageError(
                "`model` must name a .keras, .h5 or .tflite file (--model). "
                f"Received: model={self.model!r}"
            )
        check_data_directory(self.data_dir)
