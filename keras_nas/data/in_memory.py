"""Classification data that fits into memory: its parts, as tf.data pipelines."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

import numpy as np

from keras_nas.data.augmentation import Augmentation
from keras_nas.data.normalization import Normalization
from keras_nas.data.pipeline import check_seed, image_classification_data
from keras_nas.data.subsets import balanced_subset, ratio_share, split_indices
from keras_nas.data.task_data import TaskData
from keras_nas.errors import UsageError

Arrays = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class InMemory:
    class_names: tuple[str, ...]
    normalization: Normalization
    augmentation: Augmentation


@dataclasses.dataclass(frozen=True)
class LoadOptions:
    data_dir: str | os.PathLike[str] | None
    batch_size: int
    seed: int
    train_examples: int | None
    image_size: int | None
    validation_share: float
    split_ratio: str | tuple[int, int] | None
    augment: bool
    download: bool
    pixels: tuple[str, Sequence[float], Sequence[float]]
    cutout: int = 0

    def __post_init__(self) -> None:
        if self.cutout and not self.augment:
            raise UsageError(
                f"`cutout` must be 0 without `augment`. Received: cutout={self.cutout}"
            )
        if not 0.0 <= self.validation_share < 1.0:
            raise UsageError(
                "`validation_share` must be at least 0 and less than 1. "
                f"Received: validation_share={self.validation_share}"
            )
        if self.image_size is not None and self.image_size < 1:
            raise UsageError(
                f"`image_size` must be 1 or more. Received: image_size={self.image_size}"
            )
        check_seed(self.seed)

    @property
    def structure_share(self) -> float:
        """The share of D_λ."""
        return 0.0 if self.split_ratio is None else ratio_share(self.split_ratio)


def task_data(
    name: str,
    source: InMemory,
    options: LoadOptions,
    training: Arrays,
    test: Arrays,
    held_out: Arrays | None = None,
) -> TaskData:
    """The parts of a set in memory; `held_out` are images to validate on, where a set has some."""
    images, labels = training
    changes = dataclasses.replace(source.augmentation, cutout=options.cutout)
    normalization = source.normalization.of_pixels(*options.pixels)

    def batches(arrays: Arrays, training: bool):
        return image_classification_data(
            *arrays,
            options.batch_size,
            training=training,
            normalization=normalization,
            augmentation=changes if options.augment else None,
            seed=options.seed,
            image_size=options.image_size,
        )

    def part(arrays: Arrays, training: bool):
        return batches(arrays, training) if len(arrays[0]) else None

    if held_out is not None:
        options = dataclasses.replace(options, validation_share=0.0)
    kept, validation, structure = _parts(labels, options)
    held_out = (images[validation], labels[validation]) if held_out is None else held_out
    side = images.shape[1:3] if options.image_size is None else (options.image_size,) * 2
    return TaskData(
        name=name,
        train=part((images[kept], labels[kept]), True),
        validation=part(held_out, False),
        test=batches(test, False),
        structure=part((images[structure], labels[structure]), True),
        num_classes=len(source.class_names),
        image_shape=(*side, images.shape[-1]),
        class_names=source.class_names,
        train_examples=len(kept),
        available_examples=len(labels),
        validation_examples=len(held_out[0]),
        test_examples=len(test[1]),
        structure_examples=len(structure),
        selection=f"class-balanced, seed {options.seed}",
        normalization=normalization,
    )


def _parts(labels: np.ndarray, options: LoadOptions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The positions that train weights, that validate, and that train structure."""
    kept = np.arange(len(labels))
    validation = structure = np.empty(0, np.int64)
    if options.validation_share:
        kept, validation = split_indices(labels, options.validation_share, options.seed)
    if options.train_examples is not None:
        kept = kept[balanced_subset(labels[kept], options.train_examples, options.seed)]
    if options.structure_share:
        first, second = split_indices(labels[kept], options.structure_share, options.seed)
        kept, structure = kept[first], kept[second]
    return kept, validation, structure
