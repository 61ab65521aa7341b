"""Classification data, as tf.data pipelines."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from keras_nas.data import cifar10, fashion_mnist, imagenet
from keras_nas.data.augmentation import Augmentation
from keras_nas.data.class_folders import read_class_folders
from keras_nas.data.normalization import Normalization, normalization_of
from keras_nas.data.pipeline import check_seed, image_classification_data
from keras_nas.data.pixels import STANDARDIZED
from keras_nas.data.subsets import balanced_subset, ratio_share, split_indices
from keras_nas.data.task_data import TaskData
from keras_nas.data.tensorflow_datasets_source import prepared_builder
from keras_nas.errors import UsageError

Arrays = tuple[np.ndarray, np.ndarray]


TEST_SHARE = 0.2
"""The share of a folder's pictures that is tested on where it has no part for that."""


@dataclasses.dataclass(frozen=True)
class _InMemory:
    class_names: tuple[str, ...]
    normalization: Normalization
    augmentation: Augmentation


@dataclasses.dataclass(frozen=True)
class _Published(_InMemory):
    read: Callable[[str, str | os.PathLike[str] | None, bool], Arrays]


def _read_fashion_mnist(
    split: str, data_dir: str | os.PathLike[str] | None, download: bool
) -> Arrays:
    if download and not data_dir and fashion_mnist.find() is None:
        fashion_mnist.fetch(data_dir)
    return fashion_mnist.load(split, data_dir)


@dataclasses.dataclass(frozen=True)
class _Options:
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


def load_in_memory(
    name: str,
    source: _Published,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    batch_size: int = 128,
    seed: int = 0,
    train_examples: int | None = None,
    image_size: int | None = None,
    validation_share: float = 0.1,
    split_ratio: str | tuple[int, int] | None = None,
    augment: bool = True,
    cutout: int = 0,
    pixels: str = STANDARDIZED,
    pixel_mean: Sequence[float] = (),
    pixel_std: Sequence[float] = (),
    download: bool = True,
) -> TaskData:
    """Loads a classification set that fits into memory.

    The official training set is parted in this order, each time with the classes in equal shares:
    `validation_share` of it is held back; from the rest `train_examples` are chosen; with a
    `split_ratio` these are parted into `train` (D_w) and `structure` (D_λ). So the same seed
    without a `split_ratio` gives the same validation set, and D_w and D_λ joined as `train`.

    Args:
        name: Of the data set.
        source: How its files are read, and what is known of it.
        data_dir: Where the data stands, see `data_directory` and `prepared_builder`.
        batch_size: Images a batch, in all parts.
        seed: Of the choice of examples, of order and of augmentation.
        train_examples: Images to train on (D_w and D_λ together); None for all there are.
        image_size: The images' side in pixels; None for the data set's own.
        validation_share: The share of the official training set that is held back, 0 ≤ share < 1;
            0 for no validation set.
        split_ratio: D_w : D_λ for DSO-NAS, such as "1:1" or "4:1"; None for no D_λ.
        augment: False to train on the images as they are.
        cutout: The side in pixels of the square that cutout removes; 0 for none.
        pixels: What the network wants of them, one of `keras_nas.data.pixels.PIXELS`: standardised
            by the data's mean and deviation, a range such as "0..1", or a mode or module of
            keras.applications whose `preprocess_input` is meant. Padding and cutout leave the
            data's mean, whatever the range.
        pixel_mean, pixel_std: In place of `pixels`: a pixel v of 0 … 255 enters as
            (v − pixel_mean) / pixel_std; one number, or one for each channel.
        download: Whether to fetch data that is missing (Fashion-MNIST is not fetched into a
            `data_dir`, which must hold it).

    Raises:
        KerasNasError: Data that is missing or damaged, more `train_examples` than there are, an
            empty part, or a batch larger than the training set.
    """
    options = _Options(
        data_dir, batch_size, seed, train_examples, image_size, validation_share, split_ratio,
        augment, download, (pixels, pixel_mean, pixel_std), cutout,
    )  # fmt: skip
    training = source.read("train", options.data_dir, options.download)
    test = source.read("test", options.data_dir, options.download)
    return _task_data(name, source, options, training, test)


def load_class_folders(
    *,
    data_dir: str | os.PathLike[str] | None = None,
    batch_size: int = 128,
    seed: int = 0,
    train_examples: int | None = None,
    image_size: int | None = None,
    validation_share: float = 0.1,
    split_ratio: str | tuple[int, int] | None = None,
    augment: bool = True,
    cutout: int = 0,
    pixels: str = STANDARDIZED,
    pixel_mean: Sequence[float] = (),
    pixel_std: Sequence[float] = (),
) -> TaskData:
    """Loads one's own pictures: `data_dir/CLASS/*.png`, or `data_dir/train/CLASS/*.png`.

    `read_class_folders` says what is read. Where there is no folder `test`, a fifth of the pictures
    (the classes in equal shares) is kept for testing; where there is none for validation,
    `validation_share` of the rest. Pixels are standardised by the training pictures' own mean and
    deviation where `pixels` asks for nothing else. All pictures are held in memory as uint8.

    The arguments are those of `load_in_memory`; `image_size` is needed where pictures differ in
    size.

    Raises:
        KerasNasError: As `load_in_memory` and `read_class_folders`.
    """
    options = _Options(
        data_dir, batch_size, seed, train_examples, image_size, validation_share, split_ratio,
        augment, False, (pixels, pixel_mean, pixel_std), cutout,
    )  # fmt: skip
    found = read_class_folders(options.data_dir, options.image_size)
    (images, labels), test = found.train, found.test
    if test is None:
        kept, held = split_indices(labels, TEST_SHARE, options.seed)
        test = (images[held], labels[held])
        images, labels = images[kept], labels[kept]
    source = _InMemory(found.class_names, normalization_of(images), Augmentation())
    return _task_data(
        Path(os.fspath(data_dir or "")).name, source, options, (images, labels), test,
        found.validation,
    )  # fmt: skip


def _task_data(
    name: str,
    source: _InMemory,
    options: _Options,
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


def _parts(labels: np.ndarray, options: _Options) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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


def load_imagenet2012(
    *,
    data_dir: str | os.PathLike[str] | None = None,
    batch_size: int = 128,
    seed: int = 0,
    train_examples: int | None = None,
    image_size: int | None = None,
    validation_share: float = 0.1,
    split_ratio: str | tuple[int, int] | None = None,
    augment: bool = True,
    pixels: str = STANDARDIZED,
    pixel_mean: Sequence[float] = (),
    pixel_std: Sequence[float] = (),
    download: bool = True,
) -> TaskData:
    """Loads ImageNet (`imagenet` says how); its archives must be there.

    The arguments are those of `load_in_memory`, the parts slices of the stored random order.

    Raises:
        KerasNasError: As `load_in_memory`.
    """
    name = "imagenet2012"
    options = _Options(
        data_dir, batch_size, seed, train_examples, image_size, validation_share, split_ratio,
        augment, download, (pixels, pixel_mean, pixel_std),
    )  # fmt: skip
    normalization = imagenet.NORMALIZATION.of_pixels(*options.pixels)
    builder = prepared_builder(name, options.data_dir, options.download)
    size = options.image_size or imagenet.IMAGE_SIZE
    kept, validation, structure = _slices(builder.info.splits["train"].num_examples, options)

    def train(part: range):
        return imagenet.training_data(
            builder,
            f"train[{part.start}:{part.stop}]",
            options.batch_size,
            seed=options.seed,
            image_size=size,
            augment=options.augment,
            normalization=normalization,
        )

    def evaluate(split: str):
        return imagenet.evaluation_data(builder, split, options.batch_size, size, normalization)

    label = builder.info.features["label"]
    return TaskData(
        name=name,
        train=train(kept),
        validation=evaluate(f"train[{validation.start}:]") if validation else None,
        test=evaluate("validation"),
        structure=train(structure) if structure else None,
        num_classes=label.num_classes,
        image_shape=(size, size, 3),
        class_names=tuple(label.names),
        train_examples=len(kept),
        available_examples=builder.info.splits["train"].num_examples,
        validation_examples=len(validation),
        test_examples=builder.info.splits["validation"].num_examples,
        structure_examples=len(structure),
        selection="slices of the stored random order",
        normalization=normalization,
    )


def _slices(examples: int, options: _Options) -> tuple[range, range, range]:
    """As `_parts`, by the place in the stored order."""
    rest = examples - round(examples * options.validation_share)
    chosen = rest if options.train_examples is None else options.train_examples
    if not 1 <= chosen <= rest:
        raise UsageError(
            f"`train_examples` must be from 1 to the {rest} that there are. "
            f"Received: train_examples={chosen}"
        )
    weights = chosen - round(chosen * options.structure_share)
    return range(weights), range(rest, examples), range(weights, chosen)


load_fashion_mnist = functools.partial(
    load_in_memory,
    "fashion_mnist",
    _Published(
        fashion_mnist.CLASS_NAMES,
        fashion_mnist.NORMALIZATION,
        Augmentation(pad=2, pad_with="black"),
        _read_fashion_mnist,
    ),
)
load_cifar10 = functools.partial(
    load_in_memory,
    "cifar10",
    _Published(cifar10.CLASS_NAMES, cifar10.NORMALIZATION, Augmentation(pad=4), cifar10.load),
)
