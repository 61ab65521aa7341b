"""Classification data, as tf.data pipelines."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence

from keras_nas.data import cifar10, fashion_mnist, imagenet
from keras_nas.data.augmentation import Augmentation
from keras_nas.data.in_memory import Arrays, InMemory, LoadOptions, task_data
from keras_nas.data.pixels import STANDARDIZED
from keras_nas.data.task_data import TaskData
from keras_nas.data.tensorflow_datasets_source import prepared_builder
from keras_nas.errors import UsageError


@dataclasses.dataclass(frozen=True)
class _Published(InMemory):
    read: Callable[[str, str | os.PathLike[str] | None, bool], Arrays]


def _read_fashion_mnist(
    split: str, data_dir: str | os.PathLike[str] | None, download: bool
) -> Arrays:
    if download and not data_dir and fashion_mnist.find() is None:
        fashion_mnist.fetch(data_dir)
    return fashion_mnist.load(split, data_dir)


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
    options = LoadOptions(
        data_dir, batch_size, seed, train_examples, image_size, validation_share, split_ratio,
        augment, download, (pixels, pixel_mean, pixel_std), cutout,
    )  # fmt: skip
    training = source.read("train", options.data_dir, options.download)
    test = source.read("test", options.data_dir, options.download)
    return task_data(name, source, options, training, test)


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
    options = LoadOptions(
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


def _slices(examples: int, options: LoadOptions) -> tuple[range, range, range]:
    """As those of `task_data`, by the place in the stored order."""
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
