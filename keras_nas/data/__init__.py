"""Data: real images from packages, tensorflow-datasets, and tf.data pipelines over them."""

import os
from typing import TYPE_CHECKING

from keras_nas.data.registry import load, names, register

if TYPE_CHECKING or "KERAS_NAS_DEFER" not in os.environ:  # see keras_nas/__init__.py
    from keras_nas.data.augmentation import Augmentation
    from keras_nas.data.batches import as_batches, from_arrays
    from keras_nas.data.epochs import EpochDataset
    from keras_nas.data.fetch import TASKS, fetch
    from keras_nas.data.labelled_pictures import labelled_pictures
    from keras_nas.data.normalization import Normalization
    from keras_nas.data.pipeline import image_classification_data
    from keras_nas.data.subsets import balanced_subset, split
    from keras_nas.data.task_data import DataSet, TaskData

__all__ = [
    "TASKS",
    "Augmentation",
    "DataSet",
    "EpochDataset",
    "Normalization",
    "TaskData",
    "as_batches",
    "balanced_subset",
    "fetch",
    "from_arrays",
    "image_classification_data",
    "labelled_pictures",
    "load",
    "names",
    "register",
    "split",
]
