"""The data of a compression: which set, at which size, in which range of pixels."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np

from apps.compress_config import CompressAppConfig
from keras_nas.data import DataSet
from keras_nas.data.picture_settings import PictureSettings
from keras_nas.data.registry import options, task_of
from keras_nas.errors import UsageError
from keras_nas.runs.config import STAGES, TFLITE_STAGES, RunConfig
from keras_nas.runs.data import load_data
from keras_nas.runs.preflight import check_fits, side_of
from keras_nas.tasks import make_task
from keras_nas.tasks.pixel_guess import candidates_for, guess_pixels
from keras_nas.training.evaluation import Evaluator
from keras_nas.training.stage import epoch_of

TRIED = 256
"""Pictures that a model is tried on, to find out the range of its pixels."""
BATCH_SIZES = {"classification": 64, "segmentation": 8, "super_resolution": 16}
"""By task, where none is given."""
AUGMENTED = ("classification", "segmentation")
"""Tasks whose augmentation shows a model what it may not know."""
KNOWN = 0.95
"""The share of its quality on plain pictures that a model has on augmented ones that it knows."""
WHITE = (1, 255)
"""The values of white that a super-resolution model may have been trained with."""


class Loaded(NamedTuple):
    """The data of a compression, and how good the model is on them.

    Attributes:
        run_config: The settings of a run on them.
        data: The data.
        before: The model's loss and metrics on the test part.
        seconds: How long it took to find these.
    """

    run_config: RunConfig
    data: DataSet
    before: dict[str, float]
    seconds: float


def load_for(config: CompressAppConfig, model: keras.Model, say: Callable[[str], None]) -> Loaded:
    """Loads the data as the model wants it; what was found out is said.

    Raises:
        UsageError: The model does not fit the data.
        KerasNasError: The data is missing or damaged.
    """
    run_config = _run_config(config, model)
    data = load_data(run_config)
    check_fits(model, data, config.data)
    if config.guess_pixels and not _is_said(config.pictures):
        found = dataclasses.replace(
            run_config, **_FOUND_BY[data.task](run_config, data, model, say)
        )
        if found != run_config:
            run_config, data = found, load_data(found)
    began = time.monotonic()
    before = Evaluator(model, make_task(data, model), data.test)()
    seconds = time.monotonic() - began
    if config.augment == "auto" and data.task in AUGMENTED and not _knows(model, data, before, say):
        run_config = dataclasses.replace(run_config, augment=False)
        data = load_data(run_config)
    return Loaded(run_config, data, before, seconds)


def _knows(
    model: keras.Model, data: DataSet, before: dict[str, float], say: Callable[[str], None]
) -> bool:
    """Whether a model is as good on augmented pictures as on others, about; what is found is said.

    If it is not, it would be a bad teacher on them, and the small network would learn something
    that the model never did.
    """
    task = make_task(data, model)
    batches = epoch_of(data.train, 0)
    some = batches.take(max(1, TRIED // next(iter(batches))[1].shape[0]))
    augmented, plain = Evaluator(model, task, some)()[task.monitor], before[task.monitor]
    knows = augmented >= KNOWN * plain
    say(
        f"Augmentation: {'on' if knows else 'off'}, since the model's {task.monitor} is "
        f"{augmented:.2g} on augmented pictures and {plain:.2g} on others."
    )
    return knows


def _run_config(config: CompressAppConfig, model: keras.Model) -> RunConfig:
    name, place = config.data_source()
    task = task_of(name)
    return RunConfig(
        run_dir=config.output,
        stages=(*STAGES, *TFLITE_STAGES),
        model=config.model,
        data=name,
        data_dir=place,
        batch_size=config.batch_size or BATCH_SIZES[task],
        train_examples=config.train_examples,
        image_size=(
            (config.image_size or side_of(model, task)) if "image_size" in options(name) else 0
        ),
        pictures=_pictures(config.pictures, model, options(name)),
        validation_share=config.validation_share,
        augment=config.augment != "no",
        scale=_scale(model) if task == "super_resolution" else RunConfig.scale,
        patch_size=config.patch_size,
        steps_per_epoch=config.steps_per_epoch,
        seed=config.seed,
        session=config.session,
    )


def _is_said(pictures: PictureSettings) -> bool:
    """Whether the range of pixels was given."""
    default = PictureSettings()
    return any(
        getattr(pictures, name) != getattr(default, name)
        for name in ("pixels", "pixel_mean", "pixel_std")
    )


def _pictures(
    pictures: PictureSettings, model: keras.Model, known: frozenset[str]
) -> PictureSettings:
    """The settings with the model's channels, where nothing is said of them."""
    inputs = getattr(model, "inputs", None)
    channels = inputs[0].shape[-1] if inputs else None
    if pictures.channels or "channels" not in known or channels not in (1, 3):
        return pictures
    return dataclasses.replace(pictures, channels=channels)


def _scale(model: keras.Model) -> int:
    """How many times larger the model's pictures are than those that it is given."""
    shape = tuple(model.inputs[0].shape)
    if len(shape) != 4:
        raise UsageError(
            f"A model for pictures must take (height, width, channels). Received: '{model.name}', "
            f"which takes {shape[1:]}"
        )
    given = (1, *(size or 24 for size in shape[1:3]), shape[3])
    made = model.compute_output_shape(given)
    scale = (made[1] or 0) / given[1] if len(made) == 4 else 0
    if scale < 2 or scale != int(scale):
        raise UsageError(
            f"A folder of pictures is for super-resolution by 2, 3 or 4. Received: '{model.name}', "
            f"which makes {made[1:]} of {given[1:]}; for a classifier give a folder for each class"
        )
    return int(scale)


def _of_classifier(run_config, data, model, say):
    """By top-1 on some held-out pictures."""
    images, labels = [], []
    for batch in data.test.take(-(-TRIED // run_config.batch_size)):
        images.append(data.normalization.undo(batch[0]))
        labels.append(np.asarray(batch[1]))
    guess = guess_pixels(
        model, np.concatenate(images), np.concatenate(labels),
        standardization=data.normalization, examples=TRIED, seed=run_config.seed,
    )  # fmt: skip
    say(f"{guess.describe()}.")
    return {"pictures": dataclasses.replace(run_config.pictures, pixels=guess.pixels)}


def _of_segmenter(run_config, data, model, say):
    """By the mean IoU on some held-out pictures, in hundredths, and then by the loss."""
    task, own = make_task(data, model), data.normalization
    some = data.test.take(2)
    found = {}
    for name in candidates_for(data.image_shape[-1]):
        pixels = own.of_pixels(name)
        batches = some.map(
            lambda x, y, pixels=pixels: (pixels.apply((x - own.offset) / own.scale), y)
        )
        found[name] = Evaluator(model, task, batches)()
    best = max(found, key=lambda name: (round(found[name][task.monitor], 2), -found[name]["loss"]))
    shown = ", ".join(f"{name} {values[task.monitor]:.2g}" for name, values in found.items())
    say(f"pixels {best}, by trying: mean IoU {shown}.")
    return {"pictures": dataclasses.replace(run_config.pictures, pixels=best)}


def _of_enlarger(run_config, data, model, say):
    """By the PSNR on some held-out pictures, with white as 1 and as 255."""
    found = {}
    for white in WHITE:
        unit = white / data.value_range
        some = data.validation.take(3).map(lambda x, y, unit=unit: (unit * x, unit * y))
        task = make_task(dataclasses.replace(data, value_range=float(white)), model)
        found[white] = Evaluator(model, task, some)()[task.monitor]
    best = max(found, key=found.__getitem__)
    say(
        f"white is {best}, by trying: PSNR " + ", ".join(f"{v:.4g} ({w})" for w, v in found.items())
    )
    return {"value_range": best}


_FOUND_BY = {
    "classification": _of_classifier,
    "segmentation": _of_segmenter,
    "super_resolution": _of_enlarger,
}
