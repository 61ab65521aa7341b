"""Data for runs of images that are made here."""

from __future__ import annotations

from keras_nas.data import DataSet
from tests.training.nets import random_images


class MadeData(DataSet):
    """What `keras_nas.data.load` gives: four classes, 8×8 pixels of two channels."""

    task = "classification"
    num_classes = 4
    image_shape = (8, 8, 2)
    train = random_images()
    validation = random_images(16, seed=1)
    test = random_images(48, seed=2)
    structure = None

    def describe(self):
        return "quadrants: 64 of 64 training images"

    def builder_arguments(self):
        return {"input_shape": list(self.image_shape), "num_classes": self.num_classes}
