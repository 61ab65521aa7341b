"""Data: real pictures from packages, tensorflow-datasets, and tf.data pipelines over them."""

from keras_nas.data.augmentation import Augmentation
from keras_nas.data.epochs import EpochDataset
from keras_nas.data.fetch import TASKS, fetch
from keras_nas.data.normalization import Normalization
from keras_nas.data.pipeline import image_classification_data
from keras_nas.data.registry import NAMES, load
from keras_nas.data.subsets import balanced_subset, split
from keras_nas.data.task_data import TaskData

__all__ = [
    "NAMES",
    "TASKS",
    "Augmentation",
    "EpochDataset",
    "Normalization",
    "TaskData",
    "balanced_subset",
    "fetch",
    "image_classification_data",
    "load",
    "split",
]
