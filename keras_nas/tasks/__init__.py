"""Tasks: the loss and the metrics of each."""

from keras_nas.tasks.classification import Classification
from keras_nas.tasks.registry import TASKS, make_task
from keras_nas.tasks.segmentation import Segmentation
from keras_nas.tasks.super_resolution import SuperResolution
from keras_nas.tasks.task import Task

__all__ = ["TASKS", "Classification", "Segmentation", "SuperResolution", "Task", "make_task"]
