"""Segmentation data, as tf.data pipelines."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_nas.data import coco_voc, mni152, synthetic_segmentation, voc_folder
from keras_nas.data.broken_pictures import STOP
from keras_nas.data.epochs import EpochDataset
from keras_nas.data.fetched_data import data_directory
from keras_nas.data.normalization import Normalization
from keras_nas.data.pipeline import check_seed, evaluation_data, training_data
from keras_nas.data.pixels import STANDARDIZED
from keras_nas.data.segmentation_augmentation import centred, random_scale_crop_flip
from keras_nas.data.segmentation_folders import read_segmentation_folders
from keras_nas.data.subsets import TEST_SHARE, ratio_share
from keras_nas.data.task_data import TaskData
from keras_nas.data.voc_image import CLASS_NAMES as VOC_CLASS_NAMES
from keras_nas.errors import UsageError

_SYNTHETIC_IMAGES = {"train": 2000, "test": 400}
_COLOR = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@dataclasses.dataclass(frozen=True)
class SegmentationData(TaskData):
    """A segmentation task's batches; labels are `(batch, height, width)`, 255 for void."""

    task = "segmentation"


@dataclasses.dataclass(frozen=True)
class _Source:
    """The arrays of a data set's parts, and how one example is read from their rows."""

    train: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray] | None
    test: tuple[np.ndarray, np.ndarray]
    read: Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
    class_names: tuple[str, ...]
    normalization: Normalization
    size: tuple[int, int]
    scales: tuple[float, float]


def load_segmentation(
    name: str,
    read: Callable[..., _Source],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    batch_size: int = 16,
    seed: int = 0,
    train_examples: int | None = None,
    image_size: int | None = None,
    validation_share: float = 0.1,
    split_ratio: str | tuple[int, int] | None = None,
    augment: bool = True,
    pixels: str = STANDARDIZED,
    pixel_mean: Sequence[float] = (),
    pixel_std: Sequence[float] = (),
) -> SegmentationData:
    """Loads a segmentation set.

    | name                   | pixels      | classes | what                                      |
    |------------------------|-------------|---------|-------------------------------------------|
    | mni152                 | 192×160×1   | 4       | brain tissue; real (`mni152`)             |
    | synthetic_segmentation | 96×96×3     | 11      | pasted items (`synthetic_segmentation`)   |
    | voc2012                | 513×513×3   | 21      | Pascal VOC's folder (`voc_folder`)        |
    | coco_voc               | 513×513×3   | 21      | COCO in VOC's classes, VOC's test         |
    | segmentation_folders   | any         | any     | one's own (`segmentation_folders`)        |

    Training images are scaled at random (0.5 to 2.0; the brain 0.9 to 1.1), cropped and mirrored;
    evaluation sees each image whole, in the middle of the window. VOC's `val` is the test set.

    Args:
        name: Of the data set.
        read: Gives its arrays, of `data_dir` and `seed`.
        data_dir: Where the data stands: see `data_directory`, and `voc_folder.find` for VOC.
            COCO is written to `data_dir`/coco_voc once.
        batch_size: Images a batch.
        seed: Of the choice of examples, of order and augmentation.
        train_examples: Images to train on; None for all there are.
        image_size: The window's side in pixels; None for the sizes above.
        validation_share: The share of the training set that is held back; mni152 has a validation
            set of its own, which 0 leaves out.
        split_ratio: D_w : D_λ for DSO-NAS, such as "4:1"; None for no D_λ.
        augment: False to train on the images as they are.
        pixels, pixel_mean, pixel_std: As for `load_in_memory` of `keras_nas.data.classification`.

    Raises:
        KerasNasError: Data that is missing, or a part that would be empty.
    """
    check_seed(seed)
    source = read(data_dir, seed)
    normalization = source.normalization.of_pixels(pixels, pixel_mean, pixel_std)
    source = dataclasses.replace(source, normalization=normalization)
    size = source.size if image_size is None else (image_size, image_size)
    kept, held, structure = _parts(
        len(source.train[0]),
        seed,
        0.0 if source.validation is not None else validation_share,
        train_examples,
        0.0 if split_ratio is None else ratio_share(split_ratio),
    )
    validation = source.validation if validation_share else None
    if source.validation is None and len(held):
        validation = _rows(source.train, held)

    def train(positions: np.ndarray) -> EpochDataset:
        prepare = _training_preparation(source, size, augment)
        return training_data(_rows(source.train, positions), prepare, batch_size, seed)

    def evaluate(arrays) -> tf.data.Dataset:
        return evaluation_data(arrays, _evaluation_preparation(source, size), batch_size)

    return SegmentationData(
        name=name,
        train=train(kept),
        validation=None if validation is None else evaluate(validation),
        test=evaluate(source.test),
        structure=train(structure) if len(structure) else None,
        num_classes=len(source.class_names),
        image_shape=(*size, len(source.normalization.mean)),
        class_names=source.class_names,
        train_examples=len(kept),
        available_examples=len(source.train[0]),
        validation_examples=0 if validation is None else len(validation[0]),
        test_examples=len(source.test[0]),
        structure_examples=len(structure),
        selection=f"seed {seed}",
        normalization=source.normalization,
    )


def _parts(examples, seed, validation_share, train_examples, structure_share):
    """Positions that train weights, that are held back, and that train structure."""
    order = np.random.default_rng(seed).permutation(examples)
    held = round(examples * validation_share)
    rest = order[held:]
    if not len(rest):
        raise UsageError(
            f"`validation_share` must leave examples to train on. Received: {validation_share} of "
            f"{examples} examples"
        )
    chosen = len(rest) if train_examples is None else train_examples
    if not 1 <= chosen <= len(rest):
        raise UsageError(
            f"`train_examples` must be from 1 to the {len(rest)} that there are. "
            f"Received: train_examples={chosen}"
        )
    rest = rest[:chosen]
    structure = round(chosen * structure_share)
    return np.sort(rest[structure:]), np.sort(order[:held]), np.sort(rest[:structure])


def _rows(arrays, positions):
    return tuple(array[positions] for array in arrays)


def _training_preparation(source: _Source, size, augment: bool):
    if not augment:
        evaluation = _evaluation_preparation(source, size)
        return lambda batch, seed: evaluation(batch)

    def one(item):
        image, labels = source.read(item[0], item[1])
        window = random_scale_crop_flip(image, labels, item[2], size, source.scales)
        return _standardised(*window, source.normalization)

    def prepare(batch, seed):
        seeds = tf.random.split(seed, tf.shape(batch[0])[0])
        return tf.map_fn(one, (*batch, seeds), fn_output_signature=_signature(source, size))

    return prepare


def _evaluation_preparation(source: _Source, size):
    def one(item):
        window = centred(*source.read(item[0], item[1]), size)
        return _standardised(*window, source.normalization)

    return lambda batch: tf.map_fn(one, tuple(batch), fn_output_signature=_signature(source, size))


def _standardised(image, labels, inside, normalization):
    inside = inside[..., tf.newaxis]
    return tf.where(inside, normalization.apply(image), normalization.padding), labels


def _signature(source: _Source, size):
    channels = len(source.normalization.mean)
    return tf.TensorSpec((*size, channels), tf.float32), tf.TensorSpec(size, tf.uint8)


def _mni152(data_dir, seed) -> _Source:
    train, validation, test = (
        mni152.load(split, data_dir) for split in ("train", "validation", "test")
    )
    return _Source(
        train, validation, test, lambda image, labels: (image, labels), mni152.CLASS_NAMES,
        Normalization(mean=(0.4,), std=(0.3,)), (192, 160), (0.9, 1.1),
    )  # fmt: skip


def _synthetic(data_dir, seed) -> _Source:
    train, test = (
        synthetic_segmentation.load(split, count, seed=seed, data_dir=data_dir)
        for split, count in _SYNTHETIC_IMAGES.items()
    )
    return _Source(
        train, None, test, lambda image, labels: (image, labels),
        synthetic_segmentation.CLASS_NAMES, _COLOR, (96, 96), (0.75, 1.5),
    )  # fmt: skip


def _voc(data_dir, seed) -> _Source:
    train, test = (voc_folder.files(split, data_dir) for split in ("train", "val"))
    return _Source(
        train, None, test, voc_folder.read, VOC_CLASS_NAMES, _COLOR, (513, 513), (0.5, 2.0)
    )


def _coco_voc(data_dir, seed) -> _Source:
    folder = coco_voc.convert(data_directory(data_dir) / "coco_voc", data_dir)
    return dataclasses.replace(_voc(data_dir, seed), train=voc_folder.files("train", folder))


def load_segmentation_folders(
    *,
    data_dir: str | os.PathLike[str] | None = None,
    batch_size: int = 16,
    seed: int = 0,
    train_examples: int | None = None,
    image_size: int | None = None,
    validation_share: float = 0.1,
    split_ratio: str | tuple[int, int] | None = None,
    augment: bool = True,
    pixels: str = STANDARDIZED,
    pixel_mean: Sequence[float] = (),
    pixel_std: Sequence[float] = (),
    broken: str = STOP,
) -> SegmentationData:
    """Loads one's own pictures and the classes of their pixels.

    `read_segmentation_folders` says what is read; all pictures are held in memory as uint8. Where
    there is no part `test`, a fifth of the pictures, chosen by `seed`, is kept for testing. The
    arguments are those of `load_segmentation`, but `image_size` is the longer side that the
    pictures themselves are brought to, and the window is as large as they are; `broken` is that of
    `read_segmentation_folders`.

    Raises:
        KerasNasError: As `load_segmentation` and `read_segmentation_folders`.
    """

    def read(folder, seed) -> _Source:
        found = read_segmentation_folders(folder, image_size, broken)
        train, test = found.train, found.test
        if test is None:
            kept, held, _ = _parts(len(train[0]), seed, TEST_SHARE, None, 0.0)
            train, test = _rows(train, kept), _rows(train, held)
        return _Source(
            train, found.validation, test, lambda image, labels: (image, labels),
            found.class_names, _COLOR, train[1].shape[1:3], (0.5, 2.0),
        )  # fmt: skip

    return load_segmentation(
        Path(os.fspath(data_dir or "")).name, read, data_dir=data_dir, batch_size=batch_size,
        seed=seed, train_examples=train_examples, validation_share=validation_share,
        split_ratio=split_ratio, augment=augment, pixels=pixels, pixel_mean=pixel_mean,
        pixel_std=pixel_std,
    )  # fmt: skip


load_mni152 = functools.partial(load_segmentation, "mni152", _mni152)
load_synthetic_segmentation = functools.partial(
    load_segmentation, "synthetic_segmentation", _synthetic
)
load_voc2012 = functools.partial(load_segmentation, "voc2012", _voc)
load_coco_voc = functools.partial(load_segmentation, "coco_voc", _coco_voc)
