"""Semantic segmentation: cross-entropy by pixel, mean intersection over union."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_nas.errors import UsageError
from keras_nas.tasks.soft_targets import softmax_divergence
from keras_nas.tasks.task import Task, check_classes, check_labels, fits, shown_shape

IGNORE = 255
"""The label of pixels that count neither in the loss nor in the metrics (VOC's void)."""


class Segmentation(Task):
    """Softmax cross-entropy of each pixel, and the mean of the classes' intersections over unions.

    Targets are integer classes `(batch, height, width)`, `IGNORE` where a pixel does not count.
    Outputs are logits `(batch, height, width, classes)` of the same size, of any float dtype: the
    loss is computed in float32. An example's loss is the mean over its pixels that count.

    Args:
        classes: Number of classes, 2 to 255.

    Raises:
        UsageError: If `classes` is out of its range.
    """

    monitor = "miou"

    def __init__(self, classes: int):
        if not 2 <= classes <= IGNORE:
            raise UsageError(f"`classes` must be from 2 to {IGNORE}. Received: classes={classes}")
        self.classes = classes

    @classmethod
    def of(cls, model: keras.Model) -> Segmentation:
        """The segmentation task of a model with one output `(batch, height, width, classes)`.

        Raises:
            UsageError: If the model has another output.
        """
        if len(model.outputs) != 1 or len(model.outputs[0].shape) != 4:
            shapes = [tuple(output.shape) for output in model.outputs]
            raise UsageError(
                "Segmentation needs a model with one output (batch, height, width, classes), such "
                f"as keras_nas.models.deeplab_mobilenet_v2. Received: '{model.name}' with {shapes}"
            )
        return cls(model.outputs[0].shape[-1])

    @classmethod
    def for_data(cls, data, model):
        return cls.of(model)

    def check_fits(self, data, model, where):
        """As many classes, for as many pixels."""
        check_classes(model, data.num_classes, where)
        given, wanted = tuple(model.outputs[0].shape)[1:3], tuple(data.image_shape[:2])
        if None in given:
            given = tuple(model.compute_output_shape((1, *data.image_shape)))[1:3]
        if given != wanted:
            raise UsageError(
                f"{where} gives classes for {shown_shape(given)} pixels, and the data has them for "
                f"{shown_shape(wanted)}."
            )

    def check_targets(self, targets, outputs, where):
        """A class for each pixel of the outputs, or `IGNORE`."""
        if len(outputs) != 4 or outputs[-1] != self.classes:
            raise UsageError(
                "`task` must be of the model's outputs: segmentation has (height, width, "
                f"{self.classes}) for {self.classes} classes. Received: {shown_shape(outputs[1:])}"
            )
        if not fits(targets.shape[1:], outputs[1:3]):
            raise UsageError(
                f"{where} must have a class for each of {shown_shape(outputs[1:3])} pixels. "
                f"Received: labels of {shown_shape(targets.shape[1:])}"
            )
        check_labels(targets, self.classes, where, ignored=IGNORE)

    def loss(self, targets, outputs):
        targets = ops.cast(targets, "int32")
        counts = ops.cast(ops.not_equal(targets, IGNORE), "float32")
        known = ops.where(ops.equal(targets, IGNORE), 0, targets)
        losses = keras.losses.sparse_categorical_crossentropy(
            known, ops.cast(outputs, "float32"), from_logits=True
        )
        total = ops.sum(losses * counts, axis=(1, 2))
        return total / ops.maximum(ops.sum(counts, axis=(1, 2)), 1)

    def distill_loss(self, taught, outputs, temperature):
        """T² KL of the softened classes, the mean over all pixels."""
        return ops.mean(softmax_divergence(taught, outputs, temperature), axis=(1, 2))

    def metrics(self):
        """Mean IoU, and the share of pixels that are right."""
        return [_MeanIoU(self.classes, name="miou"), _PixelAccuracy(name="pixel_accuracy")]

    def right_outputs(self, targets):
        # IGNORE has no place in the one-hot code: a row of zeros.
        return ops.convert_to_numpy(ops.one_hot(ops.cast(targets, "int32"), self.classes))

    def images(self, inputs, targets, predict):
        """The image, its contrast stretched, then its true and its predicted classes in colour.

        Pixels that do not count are void in both.
        """
        images = ops.convert_to_numpy(ops.cast(inputs, "float32"))
        truth = ops.convert_to_numpy(targets)
        classes = ops.convert_to_numpy(ops.argmax(predict(inputs), axis=-1))
        low, high = images.min(), images.max()
        pixels = np.round(255 * (images - low) / max(high - low, 1e-6)).astype(np.uint8)
        shown = np.where(truth == IGNORE, IGNORE, classes)
        pixels = np.broadcast_to(pixels, (*pixels.shape[:3], 3))
        return np.concatenate([pixels, colored(truth), colored(shown)], axis=2)


class _MeanIoU(keras.metrics.MeanIoU):
    """Keras' mean IoU, its confusion matrix counted by a matrix product, without a scatter."""

    def update_state(self, targets, outputs, sample_weight=None):
        counts = ops.cast(ops.not_equal(ops.cast(targets, "int32"), IGNORE), "float32")
        # The label of a pixel that does not count has no place in the one-hot code: a row of zeros.
        rows = ops.one_hot(ops.cast(targets, "int32"), self.num_classes) * counts[..., None]
        columns = ops.one_hot(ops.argmax(outputs, axis=-1), self.num_classes)
        rows, columns = (ops.reshape(x, (-1, self.num_classes)) for x in (rows, columns))
        matrix = ops.matmul(ops.transpose(rows), columns)
        return self.total_cm.assign_add(ops.cast(matrix, self.total_cm.dtype))


class _PixelAccuracy(keras.metrics.Mean):
    """Share of the pixels that count whose class has the largest output."""

    def update_state(self, targets, outputs, sample_weight=None):
        targets = ops.cast(targets, "int32")
        counts = ops.cast(ops.not_equal(targets, IGNORE), "float32")
        hits = ops.cast(
            ops.equal(ops.cast(ops.argmax(outputs, axis=-1), "int32"), targets), "float32"
        )
        return super().update_state(hits, counts)


def palette(classes: int = 256) -> np.ndarray:
    """VOC's colours by class: uint8 `(classes, 3)`.

    A class's bits are dealt out in turn to red, green and blue, from their highest bits down.

    >>> palette(4).tolist()
    [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    """
    numbers = np.arange(classes)
    colors = np.zeros((classes, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colors[:, channel] |= ((numbers >> (3 * bit + channel) & 1) << (7 - bit)).astype(
                np.uint8
            )
    return colors


def colored(labels: np.ndarray) -> np.ndarray:
    """Classes as an image in VOC's colours: uint8 `(..., 3)` of integer `(...)`.

    `IGNORE` gets VOC's colour of it, a light yellow.
    """
    return palette()[np.asarray(labels, np.uint8)]
