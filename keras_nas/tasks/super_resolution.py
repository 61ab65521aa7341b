"""Super-resolution: L1 loss, PSNR and SSIM on luma."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_nas.data.bicubic import imresize
from keras_nas.data.super_resolution import check_value_range
from keras_nas.errors import KerasNasError, UsageError
from keras_nas.tasks.super_resolution_evaluation import (
    ImageScore,
    evaluate_folder,
    evaluate_pairs,
    mean_score,
)
from keras_nas.tasks.super_resolution_metrics import PsnrY, SsimY
from keras_nas.tasks.task import Task, check_numbers, shown_shape

__all__ = [
    "ImageScore",
    "SuperResolution",
    "evaluate_folder",
    "evaluate_pairs",
    "mean_score",
    "scale_of",
]


class SuperResolution(Task):
    """Mean absolute error; PSNR and SSIM on luma with the border shaved.

    Inputs are low-resolution images `(batch, height, width, channels)`, targets and outputs
    `(batch, scale · height, scale · width, channels)`, all in 0 … `value_range`. The loss is
    computed in float32 whatever the outputs' dtype.

    Example:

    ```python
    model = keras_nas.models.edsr(scale=2)
    task = SuperResolution.of(model)
    ```

    Args:
        scale: Enlargement, 2 or more; also the pixels shaved at each border.
        value_range: The value of white, 1 or 255. The loss is in the same unit, so a resource
            weight λ that fits 255 (FGNAS) is divided by 255 for 1.

    Raises:
        KerasNasError: An argument is out of its range.

    References:
        Lim et al., Enhanced Deep Residual Networks for Single Image Super-Resolution (2017),
        section 3.4, for the L1 loss.
    """

    monitor = "psnr_y"

    def __init__(self, scale: int = 2, value_range: float = 1.0):
        if scale < 2:
            raise UsageError(f"`scale` must be 2 or more. Received: scale={scale}")
        check_value_range(value_range)
        self.scale = scale
        self.value_range = value_range

    @classmethod
    def of(cls, model: keras.Model, value_range: float = 1.0) -> SuperResolution:
        """The task of a model, whose scale is read off its output's shape.

        Raises:
            KerasNasError: The model does not enlarge images.
        """
        return cls(scale_of(model), value_range)

    @classmethod
    def for_data(cls, data, model):
        task = cls.of(model, data.value_range)
        if task.scale != data.scale:
            raise UsageError(
                f"`scale` must be that of the network, {task.scale}. Received: scale={data.scale}"
            )
        return task

    @classmethod
    def baselines(cls, data):
        """Bicubic enlargement."""
        metrics = cls(data.scale, 255.0).metrics()
        for pair in data.test_pairs:
            enlarged = imresize(pair.low, float(data.scale))
            for metric in metrics:
                metric.update_state(pair.high[np.newaxis], enlarged[np.newaxis])
        return {"bicubic": {metric.name: float(metric.result()) for metric in metrics}}

    def check_fits(self, data, model, where):
        """A network of fixed size fits if all held-out images have it."""
        wanted = tuple(model.inputs[0].shape)[1:]
        sizes = {pair.low.shape[:2] for pair in data.test_pairs}
        if None not in wanted and sizes != {wanted[:2]}:
            raise UsageError(
                f"{where} takes images of {shown_shape(wanted)} alone, and the held-out ones have "
                f"other sizes: build it with keras.Input((None, None, {wanted[2]}))."
            )

    def check_targets(self, targets, outputs, where):
        """Images in the outputs' shape."""
        if len(outputs) != 4:
            raise UsageError(
                "`task` must be of the model's outputs: super-resolution has (height, width, "
                f"channels). Received: {shown_shape(outputs[1:])}"
            )
        check_numbers(targets, outputs, where)

    def loss(self, targets, outputs):
        error = ops.abs(ops.cast(targets, "float32") - ops.cast(outputs, "float32"))
        return ops.mean(error, axis=(1, 2, 3))

    def distill_loss(self, taught, outputs, temperature):
        """The mean absolute difference of the two images; there is no temperature."""
        return self.loss(taught, outputs)

    def metrics(self) -> list[keras.metrics.Metric]:
        """PSNR (dB) and SSIM, means over images."""
        return [
            PsnrY(self.scale, self.value_range, name="psnr_y"),
            SsimY(self.scale, self.value_range, name="ssim_y"),
        ]

    def right_outputs(self, targets):
        return ops.convert_to_numpy(ops.cast(targets, "float32"))

    def images(self, inputs, targets, predict):
        """Bicubic enlargement, the model's and the truth side by side."""
        low, truth, made = (self._bytes(x) for x in (inputs, targets, predict(inputs)))
        bicubic = np.stack([imresize(image, float(self.scale)) for image in low])
        return np.concatenate([bicubic, made, truth], axis=2)

    def _bytes(self, images) -> np.ndarray:
        pixels = ops.convert_to_numpy(ops.cast(images, "float32")) * (255.0 / self.value_range)
        return np.clip(np.round(pixels), 0, 255).astype(np.uint8)


def scale_of(model: keras.Model) -> int:
    """How many times a model enlarges the images it is given.

    Raises:
        KerasNasError: The model does not take a batch of images and give images some whole
            number of times their size.
    """
    shapes = [tuple(tensor.shape) for tensor in (*model.inputs, *model.outputs)]
    if len(shapes) == 2 and all(len(shape) == 4 for shape in shapes):
        height, width = (size or 48 for size in shapes[0][1:3])
        enlarged = model.compute_output_shape((1, height, width, shapes[0][3]))
        scale, rest = divmod(enlarged[1], height)
        if rest == 0 and scale >= 1 and enlarged[2] == scale * width:
            return scale
    raise KerasNasError(
        f"Super-resolution needs a model from (batch, h, w, c) to (batch, scale·h, scale·w, c). "
        f"Received: model '{model.name}' with inputs and outputs of shapes {shapes}"
    )
