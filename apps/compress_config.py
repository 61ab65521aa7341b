"""The settings of apps.compress; needs no TensorFlow."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from apps.data_source import data_source
from apps.phone_config import PhoneConfig
from export.android.device import attached, check_binary
from export.export_options import FORMATS
from keras_nas.compression.config import CompressConfig
from keras_nas.data import registry
from keras_nas.data.picture_settings import PictureSettings
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.file_checks import check_input_file, check_model_file, check_output_folder
from keras_nas.settings import NOTHING, check_choices, check_range, group, setting
from keras_nas.training.session import SessionSettings


@dataclasses.dataclass(frozen=True)
class CompressAppConfig:
    """Which network, on which data, within which budget, and where to."""

    model: str = setting("", "The trained .keras or .h5 file, or a SavedModel's folder.")
    data: str = setting(
        "",
        "What it was trained on: a folder with a folder of pictures for each class, with "
        "images and labels (segmentation), or of pictures (super-resolution); a .csv "
        "of paths and labels, an .npz file; tfds:NAME; or another data set's name.",
    )
    data_dir: str = setting("", "Where a data set by name is; by default its own place.")
    output: str = setting("", "Folder that everything is written to.", decides=NOTHING)
    budget: CompressConfig = group(CompressConfig())
    phone: bool = setting(
        False,
        "Measure on the Android phone that is attached, with --benchmark_binary: what "
        "--target_latency_ms is of, and the files at the end.",
        decides=NOTHING,
    )
    phone_settings: PhoneConfig = group(PhoneConfig())
    latency_points: int = setting(
        8, "Points of each operation in a latency table that is made for --target_latency_ms."
    )
    image_size: int = setting(0, "Side of the pictures in pixels; 0 for the model's own.")
    guess_pixels: bool = setting(
        True, "Find out the range of pixels by trying the model, where no other setting says it."
    )
    pictures: PictureSettings = group(PictureSettings())
    batch_size: int = setting(
        0, "Pictures a step; 0: 64, in segmentation 8, in super-resolution 16."
    )
    train_examples: int = setting(0, "Training pictures to use; 0 for all.")
    validation_share: float = setting(
        0.1, "Share of the training pictures that is held back where no part is."
    )
    augment: str = setting(
        "auto",
        "Augment the training pictures: yes, no, or auto, which looks whether the model knows "
        "augmented ones.",
        ("auto", "yes", "no"),
    )
    patch_size: int = setting(96, "Super-resolution: side of a patch at high resolution.")
    steps_per_epoch: int = setting(200, "Super-resolution: batches of patches an epoch.")
    formats: tuple[str, ...] = setting(
        ("float32", "int8"),
        f"Files to write of both networks, of {', '.join(FORMATS)}; float32 is written anyhow, and "
        "the format of target_bytes.",
    )
    seed: int = setting(0, "Seed of the data's order, the augmentation and the search.")
    session: SessionSettings = group(SessionSettings())

    def __post_init__(self):
        check_choices(self)
        check_range(self, ("patch_size", "steps_per_epoch", "latency_points"), 1)
        check_range(self, ("batch_size", "image_size", "train_examples"), 0)
        check_range(self, ("validation_share", "seed"), 0)
        if self.validation_share >= 1:
            raise UsageError(
                f"`validation_share` must be below 1. Received: {self.validation_share}"
            )
        for name in self.formats:
            if name not in FORMATS:
                raise UsageError(f"`formats` must be of {FORMATS}. Received: {name!r}")

    @property
    def written(self) -> tuple[str, ...]:
        """The formats of the files: those that a budget is of too."""
        return tuple(dict.fromkeys(("float32", *self.formats, *self.budget.forms_of("bytes"))))

    def check_paths(self) -> None:
        """Looks at the files and folders that are named, and at the phone.

        Raises:
            UsageError: One is not named, or there is no budget, or settings of a phone without one.
            KerasNasError: One is missing or of another kind, or cannot be written to; or the phone
                is not there.
        """
        if not self.output:
            raise UsageError("`output` must name a folder (--output). Received: nothing")
        check_output_folder(self.output, "output")
        if Path(self.output, "config.json").exists() and not (
            self.session.resume or self.session.overwrite
        ):
            raise KerasNasError(
                f"{self.output} holds a compression or search already: `--resume` goes on with it, "
                "`--overwrite` starts anew."
            )
        check_model_file(self.model)
        self.budget.check_budget()
        if self.budget.latency_table:
            check_input_file(self.budget.latency_table, "latency_table")
        self.check_output_apart()
        self.check_phone()

    def check_output_apart(self) -> None:
        """Raises `UsageError` where the output would stand among one's own data."""
        place = Path(self.data_source()[1])
        if self.data in registry.names() or not place.is_dir():
            return
        output = Path(self.output).resolve()
        if place.resolve() in (output, *output.parents):
            raise UsageError(
                f"`output` must be a folder outside of the data's. Received: output={self.output} "
                f"and data={self.data}"
            )

    def check_phone(self) -> None:
        """Looks whether the phone is there, with its program.

        Raises:
            UsageError: There are settings of a phone without one, or no program for it.
            KerasNasError: No phone, or several, or the program does not fit it.
        """
        if self.phone:
            check_binary(self.phone_settings)
            attached(self.phone_settings)
        elif self.phone_settings != PhoneConfig():
            raise UsageError(
                "`phone` must be on (--phone) for settings of one to have a use. Received: off"
            )

    def data_source(self) -> tuple[str, str]:
        """The data set's name, and where it stands; see `apps.data_source`."""
        return data_source(self.data, self.data_dir)
