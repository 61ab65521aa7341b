"""Pictures with their classes of any set of tensorflow-datasets that is prepared here."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_nas.data.class_folders import TEST, TRAIN, VALIDATION
from keras_nas.data.class_pictures import PictureFiles, PictureListing
from keras_nas.data.images import PictureBytes
from keras_nas.data.tensorflow_datasets_source import prepared_builder
from keras_nas.errors import KerasNasError

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

logger = logging.getLogger(__name__)

IMAGE, LABEL = "image", "label"
"""The features' usual names, where a set does not say which to learn from which."""

_PARTS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}


def list_tfds_pictures(name: str, data_dir: str | os.PathLike[str] | None) -> PictureListing:
    """Finds the pictures of a set of tensorflow-datasets with one picture and one class each.

    The parts `train`, `validation` and `test` count, spelt as in `list_class_folders`; others, and
    those without classes (a label of −1), are left out. The order is the stored one. All files'
    contents are held in memory.

    Args:
        name: As in `tfds.load`: `beans`, `NAME/CONFIG:VERSION`.
        data_dir: The folder that holds the folder `NAME`, see `prepared_builder`.

    Raises:
        UsageError: No such name.
        KerasNasError: The set is not prepared there, has no picture of 8 bits or no class for each,
            or no part to train on.
    """
    builder = prepared_builder(name, data_dir, download=False)
    image, label = _keys(name, builder)
    found = parts_of(name, builder, _PARTS)
    parts = {part: _files(builder, split, image, label) for part, split in found.items()}
    unlabelled = [part for part, files in parts.items() if np.any(files.labels < 0)]
    if "train" in unlabelled:
        raise KerasNasError(f"`tfds:{name}` must have a class for each picture to train on.")
    for part in unlabelled:
        logger.warning("tfds:%s: part %s has no classes, and is left out", name, found[part])
        del parts[part]
    return PictureListing(tuple(builder.info.features[label].names), parts, builder.data_path)


def parts_of(
    name: str, builder: tfds.core.DatasetBuilder, spellings: Mapping[str, tuple[str, ...]]
) -> dict[str, str]:
    """The names of a prepared set's parts, by what they are for.

    Raises:
        KerasNasError: There is none to train on.
    """
    filled = [key for key, split in builder.info.splits.items() if split.num_examples]
    found = {}
    for part, spelt in spellings.items():
        split = next((key for key in filled if key.lower() in spelt), None)
        if split is not None:
            found[part] = split
    if "train" not in found:
        raise KerasNasError(f"`tfds:{name}` must have a part `train`. Received: {filled or 'none'}")
    return found


def _keys(name: str, builder: tfds.core.DatasetBuilder) -> tuple[str, str]:
    """The features that hold the picture and its class."""
    features = builder.info.features
    held = dict(features.items()) if hasattr(features, "items") else {"all": features}
    wanted: list[Any] = [builder.info.supervised_keys or (), (IMAGE, LABEL)]
    for keys in wanted:
        named = len(keys) == 2 and all(isinstance(key, str) and key in held for key in keys)
        if named and _are_picture_and_class(held[keys[0]], held[keys[1]]):
            return keys[0], keys[1]
    shown = ", ".join(f"{key} ({_kind(feature)})" for key, feature in held.items())
    raise KerasNasError(
        f"`tfds:{name}` must have a picture of 8 bits and its class (Image, ClassLabel), as "
        f"supervised keys or as `{IMAGE}` and `{LABEL}`. Received: {shown}"
    )


def _are_picture_and_class(image: Any, label: Any) -> bool:
    import tensorflow_datasets as tfds

    return (
        isinstance(image, tfds.features.Image)
        and image.np_dtype == np.uint8
        and isinstance(label, tfds.features.ClassLabel)
    )


def _kind(feature: Any) -> str:
    dtype = getattr(feature, "np_dtype", None)
    return type(feature).__name__ + (f" {dtype.__name__}" if isinstance(dtype, type) else "")


def _files(builder: Any, split: str, image: str, label: str) -> PictureFiles:
    """The pictures of a part, not decoded, and their classes."""
    import tensorflow_datasets as tfds

    records = builder.as_dataset(
        split=split,
        shuffle_files=False,
        decoders=tfds.decode.PartialDecoding(
            {image: True, label: True}, decoders={image: tfds.decode.SkipDecoding()}
        ),
        read_config=tfds.ReadConfig(try_autocache=False),
    )
    files, labels = [], []
    for number, record in enumerate(records.as_numpy_iterator()):
        files.append(PictureBytes(f"{builder.name} {split}[{number}]", record[image]))
        labels.append(int(record[label]))
    return PictureFiles(files, np.array(labels, np.int64))
