"""ImageNet-1K (ILSVRC 2012), read record by record through tensorflow-datasets.

Training images get Inception's crop and a mirror image one time in two; evaluation scales the
shorter side to 256 (in proportion for other sizes than 224) and takes the central square. The
official validation set is `test` here, as in the papers; `validation` is held back from training.

Which images are in which part does not depend on the seed: tensorflow-datasets stores the
training set in a shuffled order, so that a slice of it is a random sample, and choosing by class
would mean to read all 140 GB first. For the same reason the records are not cached in memory.

The order within an epoch comes from tf.data's own shuffling of files and of a buffer. It is a
function of (seed, epoch) as long as `tf.random.set_seed` is the same, which
`keras.utils.set_random_seed` sees to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from keras_nas.data.augmentation import central_crop, random_resized_crop
from keras_nas.data.epochs import EpochDataset
from keras_nas.data.normalization import Normalization
from keras_nas.data.pipeline import (
    PARALLEL_CALLS,
    check_batch_size,
    check_seed,
    finished,
    pass_seeds,
    step_seeds,
)

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

IMAGE_SIZE = 224
RESIZE_SHARE = 256 / 224

# github.com/facebookarchive/fb.resnet.torch, datasets/imagenet.lua.
NORMALIZATION = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))

_SHUFFLE_BUFFER = 4096


def training_data(
    builder: tfds.core.DatasetBuilder,
    split: str,
    batch_size: int,
    *,
    seed: int,
    image_size: int = IMAGE_SIZE,
    augment: bool = True,
    normalization: Normalization = NORMALIZATION,
) -> EpochDataset:
    """Shuffled, complete batches of standardised training images.

    Args:
        builder: Of the prepared data set.
        split: A tensorflow-datasets split such as "train[:1000]".
        batch_size: Images a batch.
        seed: Of order and crops.
        image_size: The images' side in pixels.
        augment: False for the central crop of evaluation.
        normalization: What is done to the pixels.

    Returns:
        Batches (images, labels): float32 (batch, image_size, image_size, 3) and int64 (batch,).

    Raises:
        KerasNasError: `batch_size` is under 1 or over the images in `split`; a negative seed.
    """
    check_seed(seed)
    check_batch_size(batch_size, builder.info.splits[split].num_examples)

    def prepare(record: dict[str, tf.Tensor], seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        if not augment:
            return _evaluated(record, image_size, normalization)
        image = random_resized_crop(record["image"], seed, image_size)
        return normalization.apply(image), record["label"]

    def batches(records: tf.data.Dataset, seeds: tf.data.Dataset) -> tf.data.Dataset:
        examples = tf.data.Dataset.zip(records, seeds)
        examples = examples.map(prepare, num_parallel_calls=PARALLEL_CALLS)
        return finished(examples.batch(batch_size, drop_remainder=True))

    def build_epoch(epoch: int, start: int) -> tf.data.Dataset:
        order = int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
        records = _shuffled_records(builder, split, order)
        first, last = start * batch_size, int(records.cardinality())
        return batches(records.skip(first), step_seeds(seed, epoch, first, last))

    passes = batches(_shuffled_records(builder, split, seed), pass_seeds(seed))
    return EpochDataset(passes, build_epoch)


def evaluation_data(
    builder: tfds.core.DatasetBuilder,
    split: str,
    batch_size: int,
    image_size: int = IMAGE_SIZE,
    normalization: Normalization = NORMALIZATION,
) -> tf.data.Dataset:
    """Batches of standardised central crops in the stored order, the last one perhaps smaller.

    Args and result are as in `training_data`.
    """
    check_batch_size(batch_size)
    examples = _records(builder, split).map(
        lambda record: _evaluated(record, image_size, normalization),
        num_parallel_calls=PARALLEL_CALLS,
    )
    return finished(examples.batch(batch_size))


def _evaluated(
    record: dict[str, tf.Tensor], size: int, normalization: Normalization
) -> tuple[tf.Tensor, tf.Tensor]:
    image = tf.image.decode_jpeg(record["image"], channels=3)
    crop = central_crop(image, size, round(size * RESIZE_SHARE))
    return normalization.apply(crop), record["label"]


def _shuffled_records(builder: tfds.core.DatasetBuilder, split: str, seed: int) -> tf.data.Dataset:
    return _records(builder, split, seed).shuffle(_SHUFFLE_BUFFER, seed=seed)


def _records(
    builder: tfds.core.DatasetBuilder, split: str, seed: int | None = None
) -> tf.data.Dataset:
    import tensorflow_datasets as tfds

    return builder.as_dataset(
        split=split,
        decoders={"image": tfds.decode.SkipDecoding()},
        shuffle_files=seed is not None,
        read_config=tfds.ReadConfig(
            shuffle_seed=seed,
            shuffle_reshuffle_each_iteration=True,
            try_autocache=False,
            skip_prefetch=True,
        ),
    )
