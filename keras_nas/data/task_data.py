"""What a task's data is made of: the records that searches and apps take."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any, ClassVar

import tensorflow as tf

from keras_nas.data.epochs import EpochDataset
from keras_nas.data.normalization import Normalization


class DataSet(abc.ABC):
    """Batches of a task, and what a run must know of them.

    Attributes:
        task: The name of the task that they are for; see `keras_nas.tasks.TASKS`.
        resizes: Whether its images are brought to the size that is asked for.
        name: Of the data, such as "cifar10".
        train: Shuffled, augmented batches; `train.epoch(e, start=n)` gives them anew.
        validation: Batches that were held back, in a fixed order; None for none.
        test: Batches to measure on, in a fixed order.
        structure: D_λ of DSO-NAS; None for none.
    """

    task: ClassVar[str]
    resizes: ClassVar[bool] = True
    name: str
    train: EpochDataset
    validation: tf.data.Dataset | None
    test: tf.data.Dataset
    structure: EpochDataset | None

    @abc.abstractmethod
    def describe(self) -> str:
        """One line that says how much of the data is used, for the console."""

    @abc.abstractmethod
    def builder_arguments(self) -> dict[str, Any]:
        """The arguments that fit a backbone's builder to the data."""

    def counting_shape(self, input_shape: tuple) -> tuple[int, int, int] | None:
        """The input (height, width, channels) to count costs at.

        Args:
            input_shape: The network's own, without the batch axis.

        Returns:
            None for the network's own.
        """
        return None


@dataclass(frozen=True)
class TaskData(DataSet):
    """A task's batches, and what a model for them must know.

    Attributes:
        name: Of the data, such as "cifar10".
        train: Shuffled, augmented batches; `train.epoch(e, start=n)` gives them anew.
        validation: Batches in a fixed order of examples that were held back from the training set;
            None where no share was asked for.
        test: Batches in a fixed order of the official test set.
        structure: D_λ of DSO-NAS, disjoint from `train`, which then is D_w; None without a
            `split_ratio`.
        num_classes: Classes.
        image_shape: (height, width, channels) of one image in the batches.
        class_names: One name a class.
        train_examples: Images that `train` draws on.
        available_examples: Images in the official training set.
        validation_examples: Images in `validation`.
        test_examples: Images in `test`.
        structure_examples: Images that `structure` draws on.
        selection: How the images of the parts were chosen.
        normalization: What was done to the pixels, for export metadata.
    """

    task = "classification"

    name: str
    train: EpochDataset
    validation: tf.data.Dataset | None
    test: tf.data.Dataset
    structure: EpochDataset | None
    num_classes: int
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    train_examples: int
    available_examples: int
    validation_examples: int
    test_examples: int
    structure_examples: int
    selection: str
    normalization: Normalization

    def describe(self) -> str:
        """One line that says how much of the data is used, for the console.

        Example: "fashion_mnist: 10,000 of 60,000 training images (class-balanced, seed 0), 6,000
        for validation, 10,000 for testing".
        """
        structure = f", {self.structure_examples:,} for structure" if self.structure else ""
        return (
            f"{self.name}: {self.train_examples:,} of {self.available_examples:,} training images "
            f"({self.selection}){structure}, {self.validation_examples:,} for validation, "
            f"{self.test_examples:,} for testing"
        )

    def builder_arguments(self):
        return {"input_shape": list(self.image_shape), "num_classes": self.num_classes}
